"""Takes a model from its name to a promoted canary, in steps that survive `kill -9`.

`plan` is what is shipped, `machine` runs the stages and keeps them in the `journal`. The stages, in
`building` and `live`, call the rooms that have the work. `bundles` keeps what was shipped, with its
provenance. `server` and `admin` are about the server that it goes to.
"""
