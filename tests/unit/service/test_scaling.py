"""The original's configuration: its object, and what its fields do."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from signtusk_realtime import (
    InvalidSettings,
    LimitSettings,
    LoadBalancing,
    RealtimeService,
    RedisCluster,
    ScalingConfig,
    Settings,
    create_default_config,
)

ORIGINAL = {
    "maxConnectionsPerServer": 5000,
    "heartbeatInterval": 20000,
    "connectionTimeout": 60000,
    "messageQueueSize": 500,
    "redisCluster": {"enabled": False, "nodes": [{"host": "localhost", "port": 7000}], "options": {"maxRetries": 3}},
    "loadBalancing": {"strategy": "least_connections", "healthCheckInterval": 30000},
}


def test_the_defaults_are_the_documented_ones() -> None:
    """10 000 connections, 30 s, 5 min, 1000 messages; and they are the settings' own."""
    config = create_default_config()
    assert config == ScalingConfig()
    assert (config.max_connections_per_server, config.heartbeat_interval) == (10_000, 30_000)
    assert (config.connection_timeout, config.message_queue_size) == (300_000, 1_000)
    assert RealtimeService(config).settings == Settings()


def test_the_originals_object_is_read() -> None:
    """Every field of it, in camelCase; what is left out has its default."""
    config = ScalingConfig.from_dict(ORIGINAL)
    assert config.max_connections_per_server == 5000
    assert config.redis_cluster.nodes == [{"host": "localhost", "port": 7000}]
    assert config.load_balancing == LoadBalancing(strategy="least_connections", health_check_interval=30_000)
    assert ScalingConfig.from_dict({}) == ScalingConfig()
    assert len(ORIGINAL) == len(fields(ScalingConfig))


def test_every_field_reaches_the_settings() -> None:
    """None of the numbers and words is for show."""
    settings = RealtimeService(ScalingConfig.from_dict(ORIGINAL)).settings
    assert settings == Settings(
        limits=LimitSettings(connections=5000),
        heartbeat_interval=20_000,
        connection_timeout=60_000,
        message_queue_size=500,
        load_balancing="least_connections",
        health_check_interval=30_000,
    )


def test_unknown_names_are_refused_with_the_nearest() -> None:
    """All faults at once, each with its place."""
    with pytest.raises(InvalidSettings) as caught:
        ScalingConfig.from_dict(
            {
                "heartbeatIntervall": 1,
                "loadBalancing": {"strategie": "round_robin", "healthCheckInterval": "often"},
                "redisCluster": True,
                "x": 1,
                "messageQueueSize": 1.5,
            }
        )
    faults = caught.value.faults
    assert len(faults) == 6
    assert "did you mean heartbeatInterval?" in faults[0]
    assert "did you mean loadBalancing.strategy?" in faults[1]
    assert faults[2].startswith("loadBalancing.healthCheckInterval: ")
    assert "redisCluster: an object is expected, not bool" in faults[3]
    assert "known are maxConnectionsPerServer" in faults[4]
    assert faults[5].startswith("messageQueueSize: ")


def test_a_strategy_there_is_not_is_refused() -> None:
    """From the original's object, and made in Python."""
    with pytest.raises(InvalidSettings, match="strategy"):
        ScalingConfig.from_dict({"loadBalancing": {"strategy": "random"}})
    with pytest.raises(InvalidSettings, match="round_robin"):
        RealtimeService(ScalingConfig(load_balancing=LoadBalancing(strategy="random")))  # type: ignore[arg-type]
    with pytest.raises(InvalidSettings, match="health_check_interval"):
        RealtimeService(ScalingConfig(load_balancing=LoadBalancing(health_check_interval=0)))


def test_redis_is_named_by_address_or_by_host_and_port() -> None:
    """Both forms of the original; a password goes into each address. Without a server, or with other ones in the settings, it is a fault."""
    nodes = ["redis://a:1", {"host": "b", "port": 2}, {"host": "c"}]
    options = {"username": "u", "password": "p@ss/1", "tls": True, "maxRetries": 3}
    config = ScalingConfig(redis_cluster=RedisCluster(enabled=True, nodes=nodes, options=options))
    servers = ("redis://a:1", "rediss://u:p%40ss%2F1@b:2", "rediss://u:p%40ss%2F1@c:6379")
    assert RealtimeService(config).settings.redis == servers
    assert RealtimeService(config, settings=Settings(redis=servers)).settings.redis == servers
    for bad, match in (
        (RedisCluster(enabled=True), "is empty"),
        (RedisCluster(enabled=True, nodes=[{"port": 1}]), "the one at 0"),
        (RedisCluster(enabled=True, nodes=["http://a"]), "redis: an address of Redis is"),
    ):
        with pytest.raises(InvalidSettings, match=match):
            RealtimeService(ScalingConfig(redis_cluster=bad))
    with pytest.raises(InvalidSettings, match="different servers"):
        RealtimeService(config, settings=Settings(redis=("redis://z",)))


def test_what_is_said_twice_must_agree() -> None:
    """Either place may say it; both may say the same; two values are a fault that names both."""
    config = ScalingConfig(heartbeat_interval=20_000)
    assert RealtimeService(config).settings.heartbeat_interval == 20_000
    assert RealtimeService(config, settings=Settings(heartbeat_interval=20_000)).settings.heartbeat_interval == 20_000
    assert (
        RealtimeService(ScalingConfig(), settings=Settings(heartbeat_interval=9000)).settings.heartbeat_interval == 9000
    )
    with pytest.raises(InvalidSettings, match=r"9000.*20000"):
        RealtimeService(config, settings=Settings(heartbeat_interval=9000))


def test_values_are_held_to_the_settings_ranges() -> None:
    """By the setting's name."""
    with pytest.raises(InvalidSettings, match=r"limits\.connections"):
        RealtimeService(ScalingConfig(max_connections_per_server=0))
    with pytest.raises(InvalidSettings, match="ScalingConfig is expected"):
        RealtimeService(Settings())  # type: ignore[arg-type]


def test_faults_have_the_names_that_were_written() -> None:
    """A value out of range in the original's object is told by the original's name, beside all other faults."""
    with pytest.raises(InvalidSettings) as caught:
        ScalingConfig.from_dict({"heartbeatInterval": 0, "maxConnectionsPerServer": -1, "x": 1})
    assert {fault.partition(":")[0] for fault in caught.value.faults[1:]} == {
        "heartbeatInterval",
        "maxConnectionsPerServer",
    }


@pytest.mark.parametrize("values", [None, [], [1], "x", 5])
def test_an_object_is_read(values: Any) -> None:
    """Anything else is a fault, and no TypeError."""
    with pytest.raises(InvalidSettings, match="an object is expected"):
        ScalingConfig.from_dict(values)


@pytest.mark.parametrize("parts", [{"redis_cluster": None}, {"load_balancing": {"strategy": "round_robin"}}])
def test_parts_are_of_their_class(parts: Any) -> None:
    """What was made in Python with something else in place of a part is refused by the part's name."""
    with pytest.raises(InvalidSettings, match=next(iter(parts))):
        RealtimeService(ScalingConfig(**parts))
