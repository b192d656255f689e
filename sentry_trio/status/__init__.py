"""Status of running certificate authorities, for `sentry-trio status`; the authority itself does not use it.

collect      reads replicas, store and Kubernetes concurrently
cluster      pods, Secret and ConfigMap, as far as the permissions at hand go
report       the collected state; pure
parsers      parsers for answers of replicas; pure
assess       items that need attention, and agreement of replicas; pure
render       a report for a terminal, with certificate_tree and text; pure
json_report  a report as JSON; pure
"""
