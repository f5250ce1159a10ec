"""The request history: what happened to each request, and how operators find one."""
