"""Callers from outside reach the service, and nothing on their way cuts or buffers a stream."""

from copy import deepcopy

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from tests.deploy.chart import RELEASES, ROOT, Values, manifests, one, values_of

EXAMPLES = ROOT / "deploy" / "examples" / "proxies"
PROXIES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def behind(proxy: str) -> Values:
    """The values for production with those of an example on top, as Helm merges them."""
    merged = deepcopy(values_of("values-prod.yaml"))
    for group, values in yaml.safe_load((EXAMPLES / f"{proxy}.yaml").read_text()).items():
        merged[group] = {**merged.get(group, {}), **values}
    return merged


@pytest.mark.parametrize("proxy", PROXIES)
def test_each_example_has_one_door_and_lets_its_proxy_in(proxy: str) -> None:
    made = manifests(behind(proxy))
    doors = [each for each in made if each["kind"] in {"Ingress", "HTTPRoute"}]
    (policy,) = [each for each in made if each["kind"] == "NetworkPolicy"]
    callers = policy["spec"]["ingress"][0]["from"][1:]

    assert len(doors) == 1
    assert [list(each) for each in callers] == [["namespaceSelector"]]
    for each in (door for door in doors if door["kind"] == "Ingress"):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
        assert each["spec"]["ingressClassName"] == proxy


def test_no_example_is_of_a_retired_controller() -> None:
    assert {"traefik", "haproxy", "contour", "envoy-gateway"} == set(PROXIES)
    assert one(RELEASES["prod"], "Ingress")["spec"]["ingressClassName"] == "traefik"


def test_envoy_neither_ends_a_stream_nor_refuses_a_websocket() -> None:
    annotations = one(behind("contour"), "Ingress")["metadata"]["annotations"]
    (rule,) = one(behind("envoy-gateway"), "HTTPRoute")["spec"]["rules"]

    assert annotations["projectcontour.io/response-timeout"] == "infinity"
    assert annotations["projectcontour.io/websocket-routes"] == "/"
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


def test_a_load_balancer_can_keep_the_addresses_of_clients() -> None:
    spec = one(RELEASES["load-balancer"], "Service")["spec"]

    assert spec["externalTrafficPolicy"] == "Local"
    assert spec["loadBalancerSourceRanges"] == ["192.0.2.0/24", "2001:db8::/32"]
