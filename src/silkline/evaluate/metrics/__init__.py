"""How right an answer is, one file a family of metrics; `catalogue` names them all."""
