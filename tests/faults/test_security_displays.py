"""What a display shows of a user's or a repository's text is text: in every kind of display a cell
makes, a name that is markup stays a name. lib/display's own tests try each rendering with more."""

import html
import re

import pytest
from host_process import stop_host

ATTACK = "<img src=x onerror=alert(1)>"
# What a sanitised display may contain at all: no other element appears in ours.
OURS = {"b", "br", "code", "details", "div", "em", "i", "meter", "pre", "progress", "span", "strong", "summary"}
OURS |= {"table", "tbody", "td", "th", "thead", "tr", "small", "ul", "li", "p", "h4", "kbd", "caption", "ins", "wbr"}


@pytest.fixture(autouse=True, scope="module")
def no_host():
    yield
    stop_host()


def bundles(outcome):
    for kind in ["execute_result", "display_data", "update_display_data"]:
        yield from (content["data"] for content in outcome.of(kind))


def assert_shown_as_text(outcome):
    rendered = [bundle["text/html"] for bundle in bundles(outcome) if "text/html" in bundle]
    assert rendered, outcome.messages
    for source in rendered:
        tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([a-zA-Z!][^\s>/]*)", source)}
        assert tags <= OURS, f"{tags - OURS} in {source}"
        assert not re.search(r"<[^>]*\son\w+\s*=", source), source
    shown = " ".join(html.unescape(re.sub(r"<[^>]*>", "", source)) for source in rendered)
    # A token table cuts the text into pieces; none of it may be missing.
    assert "onerror" in shown or all(part in shown for part in ["img", "on", "error"]), shown


CELLS = {
    "tokens": f'AutoTokenizer::from_pretrained("MODEL")?.encode("{ATTACK}")?',
    "chat": f'AutoTokenizer::from_pretrained("MODEL")?.apply_chat_template(&messages![user: "{ATTACK}"])?',
}


@pytest.mark.parametrize("kind", CELLS)
def test_text_of_the_user_stays_text(kernel, kind):
    from conftest import MODEL

    assert_shown_as_text(kernel.run(CELLS[kind].replace("MODEL", MODEL)).expect_ok())


def test_a_models_name_stays_text(kernel, tmp_path):
    """A file may have any name; it comes back in the model's card, in `models()` and in errors."""
    import os
    from pathlib import Path

    from conftest import warmcell

    data = Path(os.environ.get("WARMCELL_DATA_DIR", Path.home() / ".local/share/warmcell"))
    original = next((data / "models").glob("*.gguf"))
    named = tmp_path / f"{ATTACK.replace('/', '')}.gguf"
    named.symlink_to(original)
    outcome = kernel.run(f'AutoModelForCausalLM::from_pretrained("{named}").load()?').expect_ok()
    assert_shown_as_text(outcome)
    assert_shown_as_text(kernel.run("models()?").expect_ok())
    assert warmcell("models", "--unload", "all").returncode == 0
    failed = kernel.run(f'AutoModelForCausalLM::from_pretrained("{named}.none").load()?')
    assert failed.status == "error" and "onerror" in failed.traceback
    # A front end shows a traceback as text, with colours by escape sequences only.
    assert "\x1b]" not in "".join(failed.reply["content"]["traceback"])
