"""A swarm remembers who announced, forgets who does not come back, and never offers a peer to itself."""

from __future__ import annotations

from testbed.tracker.swarm import Peer, Swarm


def peer(number: int, *, complete: bool = False, peer_id: bytes | None = None) -> Peer:
    return Peer(peer_id or b"%020d" % number, f"10.0.0.{number}", 6881, complete)


def swarm_of(*peers: Peer) -> Swarm:
    swarm = Swarm()
    for now_ns, member in enumerate(peers):
        swarm.put(member, now_ns)
    return swarm


def test_a_seed_is_offered_leechers_only_and_a_leecher_everyone_else() -> None:
    swarm = swarm_of(peer(1, complete=True), peer(2, complete=True), peer(3), peer(4))
    assert swarm.candidates(peer(1, complete=True)) == [peer(3), peer(4)]
    assert swarm.candidates(peer(3)) == [peer(1, complete=True), peer(2, complete=True), peer(4)]


def test_neither_the_same_client_nor_the_same_address_is_a_candidate() -> None:
    same_client = Peer(peer(1).peer_id, "10.9.9.9", 6881, False)
    same_address = peer(1, peer_id=b"a restarted client!!")
    swarm = swarm_of(same_address, same_client, peer(2))
    assert swarm.candidates(peer(1)) == [peer(2)]


def test_a_client_that_restarts_at_its_address_replaces_itself() -> None:
    swarm = swarm_of(peer(1), peer(1, peer_id=b"a restarted client!!"))
    assert len(swarm) == 1


def test_two_clients_behind_one_ip_are_two_peers() -> None:
    swarm = swarm_of(peer(1), Peer(b"b" * 20, "10.0.0.1", 6882, False))
    assert len(swarm) == 2


def test_peers_that_do_not_come_back_are_forgotten_and_renewed_ones_are_not() -> None:
    swarm = swarm_of(peer(1), peer(2), peer(3))
    swarm.put(peer(1), 10)
    swarm.expire(before_ns=2)
    assert list(swarm) == [peer(3), peer(1)]


def test_seeds_and_leechers_are_counted_as_they_change() -> None:
    swarm = swarm_of(peer(1), peer(2))
    swarm.put(peer(2, complete=True), 5)
    assert (swarm.complete, swarm.incomplete) == (1, 1)
    swarm.remove(peer(2))
    swarm.remove(peer(9))
    assert (swarm.complete, swarm.incomplete) == (0, 1)


def test_a_download_counts_once() -> None:
    swarm = swarm_of(peer(1))
    for _ in range(2):
        swarm.count_download(peer(1, complete=True))
        swarm.put(peer(1, complete=True), 1)
    assert swarm.downloaded == 1
