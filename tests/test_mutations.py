from pathlib import Path

import pytest

from tests.mutations import CODE, MUTATIONS, ROOT, Mutation


@pytest.fixture(scope="module")
def code() -> list[str]:
    return [path.read_text() for part in CODE for path in (ROOT / part).rglob("*.py")]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_changes_is_there(mutation: Mutation, code: list[str]) -> None:
    assert sum(text.count(mutation.before) for text in code) == 1
    file, *name = mutation.test.split("::")
    text = (Path(__file__).parent / file).read_text()
    assert all(f"def {test.partition('[')[0]}(" in text for test in name)
