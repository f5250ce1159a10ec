"""What Elasticsearch, OpenSearch, Kibana and log shippers need to take Silkline's logs.

`target` has the files, `kibana` the saved objects; the shippers' configurations are templates.
"""
