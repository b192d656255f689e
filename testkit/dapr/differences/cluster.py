"""Differences in a cluster."""

from typing import Final

from .entry import Difference

ENTRIES: Final = (
    Difference(
        id="cluster-domain",
        dapr="the cluster's DNS domain is looked up once a run, and a failure lasts as long as the run",
        ours="the last answer is kept, and a failed first lookup is repeated every minute",
        reason="a short DNS outage does not stop Dapr's scheduler",
        shown="tests/kube/test_cluster_domain.py::test_the_trust_domain_is_used_until_there_is_an_answer",
    ),
    Difference(
        id="config-map-drift",
        dapr="a ConfigMap that differs by a byte makes a new CA, which overwrites the Secret",
        ours="the ConfigMap is repaired from the Secret",
        reason="no edit of a public copy replaces the CA",
        shown="tests/stores/test_secret.py::test_a_config_map_that_differs_is_repaired",
    ),
    Difference(
        id="first-write-wins",
        dapr="two replicas that start on an empty Secret each sign with a CA of their own",
        ours="the first write wins, the others adopt it",
        reason="all replicas share one CA",
        shown="tests/cluster/test_secret.py::test_the_bundle_of_one_replica_is_used_by_all_that_start_at_once",
    ),
    Difference(
        id="partial-secret",
        dapr="a Secret that is filled in part is overwritten",
        ours="an error that names what is missing",
        reason="your CA is never lost by mistake",
        shown="tests/cluster/test_secret.py::test_a_part_of_a_set_is_an_error",
    ),
    Difference(
        id="secret-watch",
        dapr="credentials are read again once the kubelet has synced the volume",
        ours="Secret and Configuration are watched; a change is in use within seconds",
        reason="rotation does not wait a minute",
        shown="tests/cluster/test_process.py::test_a_changed_secret_is_in_use_within_seconds",
    ),
    Difference(
        id="token-reviews",
        dapr="token reviews are limited to 5 a second; a review that waits too long fails for good",
        ours="many at once, the same token once, answers kept for 30 s",
        reason="a mesh of hundreds of pods starts at once",
        shown="tests/kube/test_token_review.py::test_reviews_are_bounded_in_number_and_not_in_rate",
    ),
    Difference(
        id="unavailable",
        dapr="any failure to reach the API server is PermissionDenied, after which a new sidecar exits",
        ours="Unavailable if it is temporary",
        reason="sidecars retry",
        shown="tests/kube/test_token_review.py::test_an_outage_is_raised_to_all_waiting_callers",
    ),
    Difference(
        id="new-pods",
        dapr="a pod that is not in the cache yet is rejected",
        ours="looked up directly",
        reason="a new pod starts at the first attempt",
        shown="tests/kube/test_index.py::test_unknown_objects_are_looked_up",
    ),
    Difference(
        id="token-checks",
        dapr="audiences of the review's answer, the service account's name and the pod's UID are not checked",
        ours="checked",
        reason="a token of a deleted pod or for another audience gives no certificate",
        shown="tests/cluster/test_validator.py::test_a_pod_made_again_under_its_name",
    ),
    Difference(
        id="expected-app-id",
        dapr="a rejection reveals the expected app ID",
        ours="it names only the received one",
        reason="nothing to learn by guessing",
        shown="tests/cluster/test_validator.py::test_the_wrong_app_id",
    ),
    Difference(
        id="missing-permissions",
        dapr="missing permissions are found one by one, as failures",
        ours="an error at start names all of them; if they cannot be checked, a warning",
        reason="one fix instead of many",
        shown="tests/kube/test_access_review.py::test_one_line_names_all_missing_permissions_and_their_role",
    ),
    Difference(
        id="root-check",
        dapr="the check for root comes after the CA may have been generated",
        ours="before anything is read",
        reason="nothing is written by a process that may not run",
        shown="tests/environments/test_kubernetes.py::test_root_is_refused_unless_the_check_is_skipped",
    ),
    Difference(
        id="refusal-logs",
        dapr="mismatches of pods, service accounts and configurations are logged as errors, those of app IDs at debug",
        ours="all are warnings with the same beginnings, once a minute for each cause and pod",
        reason="support finds them, and retries do not flood the log",
        shown="tests/validators/test_kubernetes.py::test_refusals_that_people_search_for_are_logged",
    ),
    Difference(
        id="foreign-keys-in-the-secret",
        dapr="a Secret with other certificates or keys, for example of cert-manager, gets a new CA beside them",
        ours="an error names them and the flags that use them",
        reason="your own CA is never ignored",
        shown="tests/stores/test_secret.py::test_nothing_is_generated_beside_other_certificates_and_keys",
    ),
)
