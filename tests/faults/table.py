"""The fault table of the README, from what was measured of the other kernels (`peers.json`) and from
what the tests here hold Warmcell to.

    python tests/faults/table.py            prints it
    python tests/faults/table.py --write    puts it into the README
"""

import json
import sys
from pathlib import Path

from kernel_faults import FAULTS

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- faults: written by tests/faults/table.py -->", "<!-- faults: end -->"
PEERS = ["evcxr_jupyter", "ipykernel"]

# What a Warmcell cell of the table says, and the test that holds it; `test_table.py` has one test
# a fault by the same measurement as the other columns.
ROW = "test_table.py::test_a_fault_keeps_the_variables[{}]"
HOST = "test_host_kills.py"
HOST_ROW = ("`kill -9` of the process with the model", "kill", "variables kept; the next use loads the model again", HOST)


def words(fault, found):
    """A measurement in words."""
    if found is None:
        return "–"
    if found["kernel"] == "dies":
        return "**kernel dies**, all lost"
    parts = ["variables kept" if found["variables"] else "**variables lost**"]
    if found["kernel"] == "hangs":
        parts.insert(0, "**not stopped**" if fault.action == "interrupt" else "**hangs**")
    elif fault.expected == "error" and found["status"] == "ok" and fault.action != "kill":
        parts.append("**told as success**")
    if fault.action == "struct" and found["value"] not in ("1", ""):
        parts = ["**memory reinterpreted**: 1 reads as " + found["value"]]
    if not found["in_step"] and fault.action == "kill":
        parts.append("**the next cell fails**")
    elif not found["in_step"]:
        # What is read of the variable then is another cell's output.
        return "**outputs of later cells are off**"
    return ", ".join(parts)


def warmcell(fault):
    """What the test of this fault checks."""
    if fault.action == "struct":
        return "variables kept, but for that one: let go with a line that says so"
    if fault.expected == "error" and fault.action != "kill":
        return "variables kept, told as an error"
    return "variables kept"


def table():
    peers = json.loads((HERE / "peers.json").read_text())
    versions = [f"{name} {peers[name]['version']}" for name in PEERS]
    lines = [f"| | {versions[0]} | {versions[1]} | Warmcell |", "|---|---|---|---|"]
    for fault in FAULTS:
        cells = [words(fault, peers[name]["faults"].get(fault.name)) for name in PEERS]
        test = ROW.format(fault.name)
        lines.append(f"| {fault.title} | {cells[0]} | {cells[1]} | {warmcell(fault)} <!-- {test} --> |")
    title, same_as, text, test = HOST_ROW
    kill = next(fault for fault in FAULTS if fault.name == same_as)
    cells = [words(kill, peers[name]["faults"].get(same_as)) for name in PEERS]
    lines.append(f"| {title} (theirs is the cells') | {cells[0]} | {cells[1]} | {text} <!-- {test} --> |")
    return "\n".join(lines)


def in_readme():
    text = README.read_text()
    return text.split(BEGIN)[1].split(END)[0].strip() if BEGIN in text else ""


def write():
    before, rest = README.read_text().split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        write()
    else:
        print(table())
