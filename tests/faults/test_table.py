"""The fault table: Warmcell's column, a test a cell, by the measurement that the other columns come
from; and that the table in the README is the one that the files say."""

import pytest
import table
from kernel_faults import BY_NAME, FAULTS, Subject, measure


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_a_fault_keeps_the_variables(new_kernel, tmp_path, name):
    """The kernel lives, `kept` has its value from before, the next cell's outputs are its own, and what
    failed was told as an error."""
    fault = BY_NAME[name]
    kernel = new_kernel()
    subject = Subject(None, "rust", limit="%limit memory 2G")
    subject.manager, subject.client = kernel.manager, kernel.client
    found = measure(subject, fault, tmp_path)
    assert (found.kernel, found.variables, found.in_step) == ("lives", True, True), found
    if fault.expected != "any" and fault.action not in {"kill", "struct"}:
        assert found.status == fault.expected, found
    if fault.action == "struct":
        assert found.value == "", "the variable of the old type is let go"
    assert found.seconds < 20, found


def test_the_readmes_table_is_what_was_measured():
    assert table.in_readme() == table.table()


def test_every_test_that_the_table_names_is_there():
    for fault in FAULTS:
        assert table.ROW.format(fault.name).endswith(f"[{fault.name}]")
    assert (table.HERE / table.HOST).exists()
