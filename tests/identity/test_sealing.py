"""The master key: values open only where they were sealed, and only with the key of their database."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from redrive.database import Database
from redrive.errors import Problem
from redrive.identity import master_key, sealing
from redrive.identity.authentication import Authenticator
from redrive.identity.credentials import Credentials
from redrive.identity.master_key import key_file, open_sealer, prune, rotate
from redrive.identity.sealing import SealBroken, Sealer
from redrive.settings import Settings

_KEY = bytes(range(32))


@hypothesis_settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=40).filter(lambda text: text.isascii()))
def test_a_sealed_value_opens_at_its_place(plain: bytes, place: str) -> None:
    sealer = Sealer([_KEY])
    sealed = sealer.seal(plain, place)
    assert sealer.open(sealed, place) == plain
    assert len(plain) < 8 or plain not in sealed


@hypothesis_settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position: int, change: int) -> None:
    sealer = Sealer([_KEY])
    sealed = bytearray(sealer.seal(b"a secret of some length", "there"))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(SealBroken):
        sealer.open(bytes(sealed), "there")


def test_a_sealed_value_does_not_open_in_another_row() -> None:
    sealer = Sealer([_KEY])
    with pytest.raises(SealBroken, match="changed or moved"):
        sealer.open(sealer.seal(b"secret", "key_pairs.secret/1"), "key_pairs.secret/2")


def test_the_key_of_a_missing_master_key_is_named() -> None:
    sealed = Sealer([_KEY]).seal(b"secret", "there")
    with pytest.raises(SealBroken, match=sealing.key_id_of(_KEY).hex()):
        Sealer([sealing.new_key()]).open(sealed, "there")


def test_the_first_start_makes_a_private_key_file(db: Database, settings: Settings) -> None:
    open_sealer(db, settings)
    path = settings.data_dir / "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(sealing.read_key_file(path)) == 1


def test_a_key_that_does_not_fit_the_database_is_refused(db: Database, settings: Settings) -> None:
    open_sealer(db, settings)
    sealing.write_key_file(key_file(settings), [sealing.new_key()])
    with pytest.raises(Problem, match="does not fit") as refused:
        open_sealer(db, settings)
    assert refused.value.reason == "master_key_mismatch" and refused.value.hint


def test_a_missing_key_file_is_refused_where_the_database_has_sealed_values(
    db: Database, settings: Settings
) -> None:
    open_sealer(db, settings)
    key_file(settings).unlink()
    with pytest.raises(Problem) as refused:
        open_sealer(db, settings)
    assert refused.value.reason == "master_key_missing"
    assert not key_file(settings).exists()


def test_a_named_key_file_is_used_on_every_machine(db: Database, settings: Settings, tmp_path: Path) -> None:
    here = replace(settings, master_key_file=tmp_path / "shared.key")
    there = replace(here, data_dir=tmp_path / "other")
    sealed = open_sealer(db, here).seal(b"secret", "there")
    assert open_sealer(db, there).open(sealed, "there") == b"secret"
    assert not (settings.data_dir / "master.key").exists()


def test_a_key_file_that_others_can_read_is_refused(db: Database, settings: Settings) -> None:
    open_sealer(db, settings)
    key_file(settings).chmod(0o644)
    with pytest.raises(Problem, match="mode 0644"):
        open_sealer(db, settings)


@pytest.mark.parametrize("content", ["", "# nothing\n", "short\n", "A" * 44 + "\n", "\N{SNOWMAN}"])
def test_a_file_without_a_proper_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(content)
    with pytest.raises(Problem):
        Sealer.from_file(path)


def test_rotation_seals_everything_again_and_running_processes_follow(
    db: Database, settings: Settings, sealer: Sealer, credentials: Credentials
) -> None:
    old = sealer.key_id
    assert rotate(db, settings) == 2  # the canary and the key pair
    running = Authenticator(db, sealer)
    assert running.by_secret(credentials.access_key, credentials.secret_key).is_admin
    assert sealer.key_id != old
    assert old in sealer.key_ids
    with db.transaction() as conn:
        pair = conn.execute("select secret from key_pairs").fetchone()
    assert sealing.sealed_with(bytes(pair.secret)) == sealer.key_id


def test_a_rotation_that_was_cut_off_is_finished_by_the_next(
    db: Database, settings: Settings, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(master_key, "_seal_again", die)
    with pytest.raises(KeyboardInterrupt):
        rotate(db, settings)
    monkeypatch.undo()
    opened = Authenticator(db, open_sealer(db, settings))
    assert opened.by_secret(credentials.access_key, credentials.secret_key).is_admin
    assert prune(db, settings) == 2
    opened = Authenticator(db, open_sealer(db, settings))
    assert opened.by_secret(credentials.access_key, credentials.secret_key).is_admin


def test_prune_drops_the_old_key_after_sealing_what_it_still_sealed(
    db: Database, settings: Settings, credentials: Credentials
) -> None:
    behind = sealing.read_key_file(key_file(settings))
    rotate(db, settings)
    # A machine whose file is not yet the new one seals something in the meantime.
    with db.transaction() as conn:
        row = conn.execute("select id from key_pairs").fetchone()
        place = f"key_pairs.secret/{row.id}"
        sealed = Sealer(behind).seal(credentials.secret_key.encode(), place)
        conn.execute("update key_pairs set secret = %s", (sealed,))
    assert prune(db, settings) == 1
    assert len(sealing.read_key_file(key_file(settings))) == 1
    opened = Authenticator(db, open_sealer(db, settings))
    assert opened.by_secret(credentials.access_key, credentials.secret_key).is_admin


def test_the_old_key_alone_no_longer_opens_the_database(
    db: Database, settings: Settings, credentials: Credentials
) -> None:
    old = sealing.read_key_file(key_file(settings))
    rotate(db, settings)
    sealing.write_key_file(key_file(settings), old)
    with pytest.raises(Problem, match="does not fit"):
        open_sealer(db, settings)
