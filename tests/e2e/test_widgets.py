"""Widgets over their protocol, as a front end speaks it: what a cell shows, reads and hears, also while it
runs; what a page that was loaded again is told; and a text that is stopped by its button."""

import time

import pytest
from conftest import MODEL

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
    data = shown.expect_ok().of("execute_result")[0]["data"]
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == id
    assert data["text/plain"] == "n: 3" and "n: 3" in data["text/html"]
    state = page.states[id]
    assert (state["value"], state["min"], state["max"], state["step"]) == (3, 1, 9, 1)
    assert state["_view_name"] == "IntSliderView" and state["_model_module"] == "@jupyter-widgets/controls"
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
    page.run('let kept = vec![1]; let bad = widgets::Button::new("x"); bad.on_click(|| panic!("ouch")); bad.clone()').expect_ok()
    clicked = page.click(page.named("ButtonModel")[0])
    page.answers(clicked)
    errors = [one for one in page.answers(clicked) if one["msg_type"] == "error"]
    assert "ouch" in errors[0]["content"]["evalue"]
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
