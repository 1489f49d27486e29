"""Subnets for a run's networks: small, free, from a pool that can be chosen, and never endless."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from orchestrator import subnets


@pytest.mark.parametrize(
    ("generals", "prefix"), [(2, 26), (60, 26), (61, 25), (124, 25), (125, 24), (252, 24)]
)
def test_a_subnet_is_as_small_as_its_generals_allow(generals: int, prefix: int) -> None:
    assert subnets.prefix_for(generals) == prefix
    usable = IPv4Network((0, prefix)).num_addresses - 3  # its name, its broadcast, its gateway
    assert usable >= generals


def test_each_subnet_of_the_pool_is_offered_once() -> None:
    pool = IPv4Network("10.1.0.0/24")
    offered = list(subnets.free(pool, 26, []))
    assert sorted(offered) == sorted(pool.subnets(new_prefix=26))


@pytest.mark.parametrize(
    "taken",
    ["10.1.0.64/26", "10.1.0.72/29", "10.1.0.0/25", "10.1.0.65/32", "10.0.0.0/8", "0.0.0.0/1"],
)
def test_what_overlaps_a_taken_subnet_is_not_offered(taken: str) -> None:
    pool, other = IPv4Network("10.1.0.0/24"), IPv4Network(taken)
    offered = set(subnets.free(pool, 26, [other]))
    assert offered == {one for one in pool.subnets(new_prefix=26) if not one.overlaps(other)}
    assert len(offered) < 4


def test_a_subnet_elsewhere_is_in_nobodys_way() -> None:
    assert (
        len(list(subnets.free(IPv4Network("10.1.0.0/24"), 26, [IPv4Network("10.2.0.0/16")]))) == 4
    )


def test_a_pool_that_is_smaller_than_a_subnet_has_none() -> None:
    assert not list(subnets.free(IPv4Network("10.1.0.0/28"), 26, []))


def test_two_who_look_at_once_rarely_choose_the_same() -> None:
    pool = IPv4Network(subnets.POOL)
    chosen = {next(subnets.free(pool, 26, [])) for _ in range(20)}
    assert len(chosen) > 1


def test_the_pool_can_be_chosen() -> None:
    assert subnets.pool({}) == IPv4Network(subnets.POOL)
    assert subnets.pool({subnets.POOL_VARIABLE: "10.9.0.0/20"}) == IPv4Network("10.9.0.0/20")


@pytest.mark.parametrize("given", ["", "10.9.0.0/33", "10.9.0.1/20", "fd00::/64", "a pool"])
def test_a_pool_that_is_none_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ValueError, match=rf"{subnets.POOL_VARIABLE}=.*for example"):
        subnets.pool({subnets.POOL_VARIABLE: given})


def test_networks_are_read_as_the_engine_lists_them() -> None:
    listed = [
        {"IPAM": {"Config": [{"Subnet": "10.1.0.0/26"}, {"Subnet": "fd00::/64"}]}},
        {"IPAM": {"Config": None}},
        {"IPAM": None},
        {},
    ]
    assert list(subnets.of_engine(listed)) == [IPv4Network("10.1.0.0/26")]


def test_routes_are_read_as_the_kernel_lists_them(tmp_path: Path) -> None:
    """The default route covers everything, and says nothing."""
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    assert list(subnets.of_host(table)) == [IPv4Network("172.17.0.0/16")]


def test_a_host_that_shows_no_routes_has_none(tmp_path: Path) -> None:
    assert not list(subnets.of_host(tmp_path / "nothing"))
