"""Widgets over their protocol, as a front end speaks it: what a cell shows, reads and hears, also while it
runs; what a page that was loaded again is told; and a text that is stopped by its button."""

import time

import pytest
from conftest import ESCAPES, MODEL

CONTROL = "jupyter.widget.control"


class Page:
    """The widgets of a front end: their state as the kernel told it, and a user's hands."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.states = {}
        self.updates = []

    def say(self, kind, content):
        """Sends a message over the shell channel, and gives its id."""
        message = self.kernel.client.session.msg(kind, content)
        self.kernel.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def hear(self, message):
        """Takes what the kernel says of widgets."""
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_open" and content["target_name"] == "jupyter.widget":
            assert message["metadata"]["version"].startswith("2.")
            self.states[content["comm_id"]] = content["data"]["state"]
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            self.updates.append((content["comm_id"], content["data"]["state"]))
            self.states[content["comm_id"]].update(content["data"]["state"])

    def run(self, code, **options):
        return self.collect(self.kernel.send(code, **options))

    def collect(self, request):
        return self.kernel.collect(request, on_message=self.hear)

    def answers(self, request):
        """What a comm message led to, until the kernel is idle again."""
        outcome = []
        while True:
            message = self.kernel.next_for(request, "iopub", 60)
            outcome.append(message)
            self.hear(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return outcome

    def connect(self):
        """Asks for all widgets, as a page does when it is loaded."""
        opened = self.say("comm_open", {"comm_id": "control", "target_name": CONTROL, "data": {}})
        self.answers(opened)
        asked = self.say("comm_msg", {"comm_id": "control", "data": {"method": "request_states"}})
        [states] = [one["content"]["data"] for one in self.answers(asked) if one["msg_type"] == "comm_msg"]
        assert states["method"] == "update_states" and states["buffer_paths"] == []
        return states["states"]

    def named(self, model):
        return [id for id, state in self.states.items() if state["_model_name"] == model]

    def change(self, id, **state):
        return self.say("comm_msg", {"comm_id": id, "data": {"method": "update", "state": state, "buffer_paths": []}})

    def click(self, id):
        return self.say("comm_msg", {"comm_id": id, "data": {"method": "custom", "content": {"event": "click"}}})


@pytest.fixture
def page(new_kernel):
    return Page(new_kernel())


def test_a_value_is_what_the_user_left(page):
    shown = page.run('let slider = widgets::IntSlider::new(3).min(1).max(9).description("n"); slider.clone()')
    [id] = page.named("IntSliderModel")
    # A display: results have no name, by which the words beside the widget could follow it.
    [content] = shown.expect_ok().of("display_data")
    data = content["data"]
    assert content["transient"]["display_id"]
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == id
    assert data["text/plain"] == "n: 3" and "n: 3" in data["text/html"]
    state = page.states[id]
    assert (state["value"], state["min"], state["max"], state["step"]) == (3, 1, 9, 1)
    assert state["_view_name"] == "IntSliderView" and state["_model_module"] == "@jupyter-widgets/controls"
    # Without it a page cuts a description of more than ten letters.
    style = page.states[state["style"].removeprefix("IPY_MODEL_")]
    assert (style["_model_name"], style["description_width"]) == ("SliderStyleModel", "initial")
    echoed = [one["content"]["data"] for one in page.answers(page.change(id, value=7)) if one["msg_type"] == "comm_msg"]
    assert echoed == [{"method": "echo_update", "state": {"value": 7}, "buffer_paths": []}]
    assert page.run("slider.value()").result == "7"
    page.run("slider.set_value(2);").expect_ok()
    assert page.states[id]["value"] == 2
    # A page that was loaded again finds it so.
    assert page.connect()[id]["state"]["value"] == 2


def test_a_running_cell_sees_what_is_done_meanwhile(page):
    request = page.kernel.send(
        "let agree = widgets::Checkbox::new(false); display(&agree);"
        "while !agree.value() { std::thread::sleep(std::time::Duration::from_millis(20)); } agree.value()"
    )
    ticked = []

    def tick(message):
        page.hear(message)
        if message["msg_type"] == "display_data" and not ticked:
            ticked.append(page.change(page.named("CheckboxModel")[0], value=True))

    assert page.kernel.collect(request, timeout=60, on_message=tick).result == "true"


def test_functions_run_between_cells_and_show_what_they_print(page):
    page.run(
        'let choice = widgets::Dropdown::new(["one", "two", "three"]);'
        'interact(&choice, |word| { println!("chosen"); word.to_uppercase() });'
    ).expect_ok()
    [output], [list_] = page.named("OutputModel"), page.named("DropdownModel")
    texts = lambda: [one.get("text") or one["data"]["text/plain"] for one in page.states[output]["outputs"]]
    assert texts() == ["chosen\n", "ONE"]
    changed = page.change(list_, index=2)
    page.answers(changed)  # noted
    page.answers(changed)  # answered
    assert texts() == ["chosen\n", "THREE"]
    # What fails is told where the answer would stand.
    page.run('interact(&choice, |word| -> String { if word == "two" { panic!("not two") } word });').expect_ok()
    second = page.named("OutputModel")[-1]
    page.answers(changed := page.change(list_, index=1))
    page.answers(changed)
    assert "not two" in page.states[second]["outputs"][-1]["evalue"]
    # And in a log where nothing was shown. Nothing is lost.
    made = page.run('let kept = vec![1]; let bad = widgets::Button::new("x"); bad.on_click(|| panic!("ouch")); bad.clone()').expect_ok()
    clicked = page.click(page.named("ButtonModel")[0])
    page.answers(clicked)
    errors = [one for one in page.answers(clicked) if one["msg_type"] == "error"]
    assert "ouch" in errors[0]["content"]["evalue"]
    place = f"In [{made.reply['content']['execution_count']}]:1:74"
    assert place in ESCAPES.sub("", "\n".join(errors[0]["content"]["traceback"]))
    assert page.run("kept").result == "[1]"
    assert page.run("bad.clicks()").result == "1"


def test_functions_wait_for_the_cell_and_the_last_change_counts(page):
    page.run("let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::<i64>::new()));").expect_ok()
    page.run(
        "let slider = widgets::IntSlider::new(0); let list = seen.clone();"
        "slider.observe(move |value| list.lock().unwrap().push(value)); slider.clone()"
    ).expect_ok()
    [id] = page.named("IntSliderModel")
    request = page.kernel.send("std::thread::sleep(std::time::Duration::from_millis(800));")
    time.sleep(0.3)
    last = [page.change(id, value=value) for value in range(1, 30)][-1]
    page.collect(request).expect_ok()
    page.answers(last)
    page.answers(last)
    assert page.run("seen.lock().unwrap().clone()").result == "[29]"


def test_a_flood_is_thinned_and_its_last_frame_arrives(page):
    page.run("let bar = widgets::IntProgress::new(0).max(20_000); bar.clone()").expect_ok()
    page.updates.clear()
    outcome = page.run("for done in 1..=20_000 { bar.set_value(done); }")
    outcome.expect_ok()
    assert page.updates[-1][1]["value"] == 20_000
    assert len(page.updates) <= 20 * outcome.seconds + 3
    # The same of a display that is updated.
    outcome = page.run('let shown = display_with_id("0"); for n in 1..=5_000 { shown.update(n); }')
    outcome.expect_ok()
    frames = [content["data"]["text/plain"] for content in outcome.of("update_display_data")]
    assert frames[-1] == "5000" and len(frames) <= 20 * outcome.seconds + 3


def test_a_crash_loses_no_widget(page):
    page.run('let name = widgets::Text::new("Ada").placeholder("who?"); name.clone()').expect_ok()
    [id] = page.named("TextModel")
    page.answers(page.change(id, value="Grace"))
    assert page.run("std::process::abort()").status == "error"
    assert page.run("name.value()").result == '"Grace"'


def test_a_text_is_stopped_by_its_button_and_kept(page):
    load = f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'
    page.run(load + "let streamer = TextStreamer::new(&model.tokenizer()?).skip_prompt(true);").expect_ok()
    story = 'let told = model.generate("Once upon a time").min_new_tokens(1500).max_new_tokens(1500).streamer(streamer.clone()).run()?;'
    # Nobody has asked for widgets: it is printed.
    printed = page.run(story.replace("1500", "5"))
    assert printed.expect_ok().stream() and not page.named("ButtonModel")
    page.connect()
    request, clicked = page.kernel.send(story), []

    def stop(message):
        page.hear(message)
        if not clicked and any("tokens ·" in state.get("value", "") for _, state in page.updates):
            page.click(page.named("ButtonModel")[0])
            clicked.append(time.monotonic())

    outcome = page.kernel.collect(request, timeout=120, on_message=stop)
    seconds = time.monotonic() - clicked[0]
    outcome.expect_ok()
    assert seconds < 2, f"stopped after {seconds:.2f} s; the target is 0.2 s"
    [last] = outcome.of("update_display_data")[-1:]
    assert "was stopped" in last["data"]["text/html"]
    assert "application/vnd.jupyter.widget-view+json" not in last["data"], "a saved notebook needs no widget"
    assert page.run("(told.ids().len() > 0, told.ids().len() < 1500, told.finish_reason())").result == "(true, true, Cancelled)"
    assert not outcome.stream()
    # The widget itself, for a page that was loaded again, says the same.
    states = page.connect()
    assert any("was stopped" in one["state"].get("value", "") for one in states.values())


def test_a_pipeline_is_stopped_by_its_button_and_kept(page):
    page.connect()
    load = f'let writer = pipeline_with("text-generation").model("{MODEL}").load()?.min_new_tokens(1500).max_new_tokens(1500);'
    page.run(load + "let streamer = TextStreamer::new(&writer.model().tokenizer()?).skip_prompt(true);").expect_ok()
    request = page.kernel.send('let told = writer.streamer(streamer.clone()).run("Once upon a time")?;')
    clicked = []

    def stop(message):
        page.hear(message)
        if not clicked and any("tokens ·" in state.get("value", "") for _, state in page.updates):
            page.click(page.named("ButtonModel")[0])
            clicked.append(True)

    outcome = page.kernel.collect(request, timeout=120, on_message=stop).expect_ok()
    [last] = outcome.of("update_display_data")[-1:]
    assert clicked and "was stopped" in last["data"]["text/html"]
    written = page.run("let one = told.generation().unwrap().token_ids.len(); (one > 4, one < 1500)")
    assert written.result == "(true, true)"
    # The stop button of the notebook is an interrupt, as for `generate`.
    page.updates.clear()
    request = page.kernel.send('writer.streamer(streamer).run("One")?;')
    deadline = time.monotonic() + 60
    while not any("tokens ·" in state.get("value", "") for _, state in page.updates):
        assert time.monotonic() < deadline
        page.hear(page.kernel.next_for(request, "iopub", 60))
    page.kernel.manager.interrupt_kernel()
    assert page.collect(request).reply["content"]["ename"] == "KeyboardInterrupt"


def test_an_interrupt_is_still_one(page):
    page.connect()
    load = f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'
    page.run(load + "let streamer = TextStreamer::new(&model.tokenizer()?);").expect_ok()
    request = page.kernel.send('model.generate("One").min_new_tokens(1500).max_new_tokens(1500).streamer(streamer).run()?;')
    deadline = time.monotonic() + 60
    while not any("tokens ·" in state.get("value", "") for _, state in page.updates):
        assert time.monotonic() < deadline
        page.hear(page.kernel.next_for(request, "iopub", 60))
    page.kernel.manager.interrupt_kernel()
    outcome = page.collect(request)
    assert outcome.reply["content"]["ename"] == "KeyboardInterrupt"


def test_a_model_is_freed_by_its_button_while_a_cell_runs(page):
    page.kernel.run(f"%unload all\n%load {MODEL}").expect_ok()
    static = page.run("%models").expect_ok().of("display_data")[0]["data"]
    assert set(static) == {"text/plain", "text/html"}, "nobody shows widgets"
    page.connect()
    shown = page.run("%models").expect_ok().of("display_data")[0]
    assert "<table>" in shown["data"]["text/html"] and "application/vnd.jupyter.widget-view+json" in shown["data"]
    buttons = lambda word: [id for id, state in page.states.items() if state.get("description") == word]
    lines = lambda: [state["value"] for state in page.states.values() if MODEL in str(state.get("value", ""))]
    assert len(lines()) == len(buttons("Unload")) >= 1
    [row] = [id for id, state in page.states.items() if MODEL in str(state.get("value", ""))]
    request = page.kernel.send("std::thread::sleep(std::time::Duration::from_secs(6));")
    while page.kernel.next_for(request, "iopub", 20)["msg_type"] != "execute_input":
        pass
    started = time.monotonic()
    page.click(row.replace("-name", "-pin"))
    while not buttons("Unpin"):
        page.hear(page.kernel.client.get_iopub_msg(timeout=3))
    row = [id for id, state in page.states.items() if "pinned" in str(state.get("value", ""))][-1]
    page.click(row.replace("-name", "-unload"))
    while page.states[row.replace("-name", "-unload")]["description"] != "Unloading":
        page.hear(page.kernel.client.get_iopub_msg(timeout=3))
    while MODEL in shown["data"]["text/plain"]:
        message = page.kernel.client.get_iopub_msg(timeout=3)
        page.hear(message)
        if message["msg_type"] == "update_display_data":
            shown = message["content"]
    assert time.monotonic() - started < 4, "it waited for the cell"
    page.collect(request).expect_ok()
    assert page.kernel.run(f"%unload {MODEL}").status == "error"


def test_the_list_of_variables_is_a_widget_that_follows(page):
    page.connect()
    shown = page.run("%vars").expect_ok().of("display_data")[0]["data"]
    id = shown["application/vnd.jupyter.widget-view+json"]["model_id"]
    page.run("let followed = 12345;").expect_ok()
    assert "12345" in page.states[id]["value"]
    # What a silent cell made is told with the next.
    page.run("let unheard = 54321;", silent=True)
    page.run("1;").expect_ok()
    assert "54321" in page.states[id]["value"]
    # A page that was loaded again finds it so.
    assert "54321" in page.connect()[id]["state"]["value"]


LOAD = (
    f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'
    "let streamer = TextStreamer::new(&model.tokenizer()?).skip_prompt(true);"
)
VIEW = "application/vnd.jupyter.widget-view+json"


def story(on_token):
    return (
        'model.generate("Once upon a time").min_new_tokens(1500).max_new_tokens(1500).streamer(streamer.clone())'
        f".on_token({on_token}).run()?;"
    )


def expect_ended(page, outcome):
    """The text so far stands there, told as unfinished, and nothing that needs a widget."""
    last = outcome.of("update_display_data")[-1]["data"]
    assert VIEW not in last and "not finished" in last["text/html"], last
    assert len(last["text/plain"]) > 100, last
    assert any("not finished" in state.get("value", "") for state in page.states.values())


@pytest.mark.parametrize(
    "on_token, ename",
    [
        ('{ let mut n = 0; move |_| { n += 1; if n == 60 { panic!("no more"); } } }', "panic"),
        ("{ let mut n = 0; move |_| { n += 1; if n == 60 { std::process::abort(); } } }", "Died"),
        ('{ let mut n = 0; move |_| { n += 1; if n == 60 { std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status().unwrap(); } } }', "Died"),
    ],
    ids=["panic", "abort", "kill"],
)
def test_a_text_whose_cell_dies_ends_with_what_there_is(page, on_token, ename):
    page.connect()
    page.run(LOAD).expect_ok()
    # Slow enough that frames of it are seen.
    outcome = page.run(story(on_token.replace("n += 1;", "n += 1; std::thread::sleep(std::time::Duration::from_millis(5));")))
    assert outcome.status == "error"
    if ename == "panic":
        assert outcome.reply["content"]["evalue"] == "no more"
    expect_ended(page, outcome)
    assert page.run("1 + 1").result == "2"


def test_a_text_that_is_interrupted_while_its_function_sleeps_ends_too(page):
    page.connect()
    page.run(LOAD).expect_ok()
    request = page.kernel.send(story('{ let mut n = 0; move |_| { n += 1; if n == 60 { println!("asleep"); std::thread::sleep(std::time::Duration::from_secs(3600)); } } }'))
    printed = ""
    while "asleep" not in printed:
        message = page.kernel.next_for(request, "iopub", 60)
        page.hear(message)
        printed += message["content"].get("text", "")
    # Until the last frame has come.
    time.sleep(1)
    page.kernel.manager.interrupt_kernel()
    outcome = page.collect(request)
    assert outcome.reply["content"]["ename"] == "KeyboardInterrupt"
    expect_ended(page, outcome)


def test_a_callback_that_fails_leaves_the_others(page):
    page.run(
        'let bad = widgets::Button::new("bad"); bad.on_click(|| panic!("ouch"));'
        'let gone = widgets::Button::new("gone"); gone.on_click(|| std::process::abort());'
        'let good = widgets::Button::new("good"); let output = widgets::Output::new(); let shown = output.clone();'
        'good.on_click(|| panic!("first of two")); good.on_click(move || shown.capture(|| println!("answered")));'
        "display(&widgets::HBox::new([&bad as &dyn widgets::Widget, &gone, &good, &output]));"
    ).expect_ok()
    buttons = {page.states[id]["description"]: id for id in page.named("ButtonModel")}
    [output] = page.named("OutputModel")
    request = page.kernel.send("std::thread::sleep(std::time::Duration::from_millis(1000));")
    time.sleep(0.4)
    clicked = [page.click(buttons[name]) for name in ("bad", "gone", "good")]
    page.collect(request).expect_ok()
    errors, deadline = [], time.monotonic() + 60
    while not page.states[output].get("outputs") and time.monotonic() < deadline:
        try:
            message = page.kernel.client.get_iopub_msg(timeout=1)
        except Exception:
            continue
        page.hear(message)
        if message["msg_type"] == "error":
            errors.append(message["content"]["evalue"])
    assert page.states[output]["outputs"][0]["text"] == "answered\n", errors
    assert len(clicked) == 3


def test_an_output_has_a_limit(page):
    page.run("let output = widgets::Output::new(); output.clone()").expect_ok()
    page.updates.clear()
    outcome = page.run(
        'output.capture(|| for n in 0..100_000 { println!("{n:06} {}", "x".repeat(93)); });'
    )
    outcome.expect_ok()
    assert not outcome.stream()
    sent = [state["outputs"] for _, state in page.updates if "outputs" in state]
    total = sum(len(str(outputs)) for outputs in sent)
    # Ten megabytes in all; whole and fifteen times a second they would be hundreds.
    assert total < 5e6 * outcome.seconds + 2e6, f"{total} bytes in {outcome.seconds:.1f} s"
    assert max(len(str(outputs)) for outputs in sent) < 800_000
    last = sent[-1]
    assert last[0]["text"].startswith("… ") and "MB were cut here" in last[0]["text"]
    assert last[-1]["text"].endswith("099999 " + "x" * 93 + "\n"), "the end is there"


def test_the_words_beside_a_widget_are_those_the_cell_left(page):
    """They were those of the moment of display."""
    page.kernel.run('let slider = widgets::IntSlider::new(1).description("n");').expect_ok()
    shown = page.run("display(&slider); slider.set_value(5);")
    [id] = [content["transient"]["display_id"] for content in shown.expect_ok().of("display_data")]
    [update] = shown.of("update_display_data")
    assert update["transient"]["display_id"] == id
    assert update["data"]["text/plain"] == "n: 5" and VIEW in update["data"]
    # Nothing that stands there is drawn anew without need.
    assert not page.run("1 + 1").of("update_display_data")
    # What a later cell does is told with that cell.
    assert page.run("slider.set_value(7);").of("update_display_data")[0]["data"]["text/plain"] == "n: 7"
    # A user's doing is not told while the hand is on it, but later, or with the next cell.
    [model] = page.named("IntSliderModel")
    answered = page.answers(page.change(model, value=8))
    assert not [one for one in answered if one["msg_type"] == "update_display_data"]
    assert page.run("1 + 1").of("update_display_data")[0]["data"]["text/plain"] == "n: 8"


def test_what_interact_made_last_is_saved(page):
    first = page.run('let times = widgets::IntSlider::new(2); interact(&times, |n| "la ".repeat(n as usize));')
    assert first.expect_ok().of("update_display_data")[-1]["data"]["text/plain"] == 'IntSlider: 2\nla la '
    [model] = page.named("IntSliderModel")
    changed = page.change(model, value=4)
    answered = page.answers(changed) + page.answers(changed)
    # Not at once: the page draws the slider anew for it, which would slip from the hand.
    assert not [one for one in answered if one["msg_type"] == "update_display_data"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        message = page.kernel.client.get_iopub_msg(timeout=30)
        if message["msg_type"] == "update_display_data":
            break
    assert message["content"]["data"]["text/plain"] == 'IntSlider: 4\nla la la la '


def test_a_text_on_its_way_is_saved_as_far_as_it_is(page):
    """A page that is loaded again in the middle knows no more of it than the file has."""
    page.connect()
    page.run(LOAD).expect_ok()
    slow = "|_| std::thread::sleep(std::time::Duration::from_millis(100))"
    request = page.kernel.send(story(slow).replace("1500", "250"))
    updates, reloaded = [], []

    def note(message):
        page.hear(message)
        if message["msg_type"] == "update_display_data":
            updates.append(message["content"]["data"])
            if not reloaded:
                reloaded.append(page.say("comm_msg", {"comm_id": "control", "data": {"method": "request_states"}}))

    page.kernel.collect(request, timeout=120, on_message=note).expect_ok()
    assert VIEW in updates[0] and "was being written" in updates[0]["text/plain"]
    assert len(updates[0]["text/plain"]) > 300
    assert VIEW not in updates[-1]
    # Its widgets stay, however many texts come after it.
    text = updates[0][VIEW]["model_id"]
    page.run('for _ in 0..18 { model.generate("One").max_new_tokens(2).streamer(streamer.clone()).run()?; }').expect_ok()
    assert text in page.connect()


CHAT = f"%%chat {MODEL} --new --max 1500\nWrite a very long story about a bridge, with many chapters."


def chat(page, code, press, when):
    """Runs a cell and does something once, when a condition on its messages holds."""
    request, pressed = page.kernel.send(code), []

    def look(message):
        page.hear(message)
        if not pressed and when(message):
            pressed.append(time.monotonic())
            press()

    outcome = page.kernel.collect(request, timeout=120, on_message=look)
    assert pressed, "the moment did not come"
    return outcome, time.monotonic() - pressed[0]


def is_growing(page):
    return lambda _: any("tokens ·" in state.get("value", "") for _, state in page.updates)


def stop(page):
    return lambda: page.click(page.named("ButtonModel")[-1])


def test_a_chat_is_stopped_by_its_button_and_goes_on(page):
    page.connect()
    outcome, seconds = chat(page, CHAT, stop(page), is_growing(page))
    outcome.expect_ok()
    assert seconds < 2, f"stopped after {seconds:.2f} s; the target is 0.2 s"
    last = outcome.of("update_display_data")[-1]["data"]
    assert "was stopped" in last["text/html"] and VIEW not in last
    assert not outcome.stream(), "it stands on the page, and is not printed"
    # The conversation has what there is, and the next answer is nobody's to stop.
    page.updates.clear()
    short = page.run(f"%%chat {MODEL} --max 5\nGo on.").expect_ok()
    assert "was stopped" not in short.of("update_display_data")[-1]["data"]["text/html"]


def test_a_chat_is_stopped_while_its_model_is_loaded(page):
    page.connect()
    page.run("%unload all")
    shown = lambda message: message["msg_type"] == "display_data"
    outcome, _ = chat(page, CHAT, stop(page), shown)
    last = outcome.of("update_display_data")[-1]["data"]
    assert VIEW not in last and ("not finished" in last["text/html"] or "was stopped" in last["text/html"])
    page.run(f"%%chat {MODEL} --max 5\nHello.").expect_ok()


def test_a_chat_is_interrupted(page):
    page.connect()
    outcome, seconds = chat(page, CHAT, page.kernel.manager.interrupt_kernel, is_growing(page))
    assert outcome.reply["content"]["ename"] == "KeyboardInterrupt"
    assert seconds < 2
    assert VIEW not in outcome.of("update_display_data")[-1]["data"]
    page.run(f"%%chat {MODEL} --max 5\nHello.").expect_ok()


def test_stop_in_a_chat_is_not_meant_for_the_next(page):
    """As Run All sends them: a cancel that came late ended the second."""
    page.connect()
    page.run(f"%load {MODEL}").expect_ok()
    for _ in range(4):
        page.updates.clear()
        second = []

        def press():
            stop(page)()
            second.append(page.kernel.send(f"%%chat {MODEL} --new --max 12\nName the colours."))

        first, _ = chat(page, CHAT, press, is_growing(page))
        assert "was stopped" in first.expect_ok().of("update_display_data")[-1]["data"]["text/html"]
        outcome = page.collect(second[0]).expect_ok()
        assert "was stopped" not in outcome.of("update_display_data")[-1]["data"]["text/html"]
