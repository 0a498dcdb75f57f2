//! What a front end sees of a cell: which messages, in which order, with which content.

use std::collections::HashMap;

use jupyter_protocol::messaging::ExecuteRequest;
use serde_json::json;

use crate::front_end::{FrontEnd, Start, cell};

fn input(code: &str, count: usize) -> String {
    format!(
        "execute_input {}",
        json!({ "code": code, "execution_count": count })
    )
}

#[tokio::test]
async fn a_cell_is_busy_input_outputs_idle_and_counted_from_one() {
    let mut front_end = FrontEnd::start().await;
    let (published, reply) = front_end.run("print hello\n1 + 1").await;
    assert_eq!(
        published,
        [
            "status busy",
            r#"execute_input {"code":"print hello\n1 + 1","execution_count":1}"#,
            r#"stdout "hello\n""#,
            r#"execute_result {"data":{"text/plain":"1 + 1"},"metadata":{},"transient":{},"execution_count":1}"#,
            "status idle",
        ]
    );
    assert_eq!(
        reply,
        json!({ "status": "ok", "execution_count": 1, "user_expressions": {}, "payload": [] })
    );
    let (_, reply) = front_end.run("").await;
    assert_eq!(reply["execution_count"], 2);
    front_end.finish().await;
}

#[tokio::test]
async fn rich_output_passes_as_it_is_and_in_order() {
    let mut front_end = FrontEnd::start().await;
    let code = "write a\nshow b\nsave c\neprint d\nupdate e\nclear\nwrite f";
    let (published, _) = front_end.run(code).await;
    assert_eq!(
        published[2..],
        [
            r#"stdout "a""#,
            r#"display_data {"data":{"text/plain":"b","text/html":"<b>b</b>"},"metadata":{},"transient":{}}"#,
            r#"display_data {"data":{"text/plain":"c"},"metadata":{},"transient":{"display_id":"saved"}}"#,
            r#"stderr "d\n""#,
            r#"update_display_data {"data":{"text/plain":"e"},"metadata":{},"transient":{"display_id":"saved"}}"#,
            r#"clear_output {"wait":true}"#,
            r#"stdout "f""#,
            "status idle",
        ]
    );
    front_end.finish().await;
}

#[tokio::test]
async fn an_error_is_published_and_in_the_reply() {
    let mut front_end = FrontEnd::start().await;
    let (published, reply) = front_end.run("write before\nfail 가 is not 🦀").await;
    let error = r#"{"ename":"EchoError","evalue":"가 is not 🦀","traceback":["\u001b[31mEchoError\u001b[0m: 가 is not 🦀"]}"#;
    assert_eq!(
        published[2..],
        [
            r#"stdout "before""#,
            &format!("error {error}"),
            "status idle"
        ]
    );
    let mut expected: serde_json::Value = serde_json::from_str(error).unwrap();
    expected["status"] = "error".into();
    expected["execution_count"] = 1.into();
    expected["user_expressions"] = json!({});
    expected["payload"] = json!([]);
    assert_eq!(reply, expected);
    front_end.finish().await;
}

#[tokio::test]
async fn a_panic_of_the_language_is_an_error_and_not_the_end() {
    let mut front_end = FrontEnd::start().await;
    let (_, reply) = front_end.run("panic on purpose").await;
    assert_eq!(
        (&reply["status"], &reply["ename"]),
        (&"error".into(), &"KernelError".into())
    );
    let (_, reply) = front_end.run("print still here").await;
    assert_eq!(reply["status"], "ok");
    front_end.finish().await;
}

#[tokio::test]
async fn a_language_that_cannot_start_says_why_in_each_cell() {
    let mut front_end = Start {
        broken: true,
        ..Start::default()
    }
    .start()
    .await;
    front_end.assert_alive().await;
    let (_, reply) = front_end.run("print hello").await;
    assert_eq!(
        (&reply["status"], &reply["ename"]),
        (&"error".into(), &"Broken".into())
    );
    front_end.finish().await;
}

#[tokio::test]
async fn a_silent_cell_shows_nothing_and_is_not_counted() {
    let mut front_end = FrontEnd::start().await;
    let request = ExecuteRequest {
        silent: true,
        ..cell("print a\nshow b\n1\nfail c")
    };
    let id = front_end.send(request).await;
    assert_eq!(
        front_end.until_idle(&id).await,
        ["status busy", "status idle"]
    );
    assert_eq!(front_end.reply(&id).await["status"], "error");
    let (published, _) = front_end.run("print d").await;
    assert_eq!(published[1], input("print d", 1));
    front_end.finish().await;
}

#[tokio::test]
async fn a_cell_that_is_not_stored_does_not_count() {
    let mut front_end = FrontEnd::start().await;
    front_end.run("").await;
    let id = front_end
        .send(ExecuteRequest {
            store_history: false,
            ..cell("1")
        })
        .await;
    assert_eq!(front_end.until_idle(&id).await[1], input("1", 2));
    assert_eq!(front_end.reply(&id).await["execution_count"], 2);
    let (_, reply) = front_end.run("").await;
    assert_eq!(reply["execution_count"], 2);
    front_end.finish().await;
}

#[tokio::test]
async fn user_expressions_are_evaluated_after_the_cell() {
    let mut front_end = FrontEnd::start().await;
    let expressions = [("good", "a + b"), ("bad", "fail")];
    let expressions: HashMap<_, _> = expressions
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
    let request = ExecuteRequest {
        user_expressions: Some(expressions),
        ..cell("")
    };
    let id = front_end.send(request).await;
    front_end.until_idle(&id).await;
    let values = &front_end.reply(&id).await["user_expressions"];
    assert_eq!(
        values["good"],
        json!({ "status": "ok", "data": { "text/plain": "a + b" }, "metadata": {} })
    );
    assert_eq!(values["bad"]["status"], "error");
    assert_eq!(values["bad"]["ename"], "EchoError");
    front_end.finish().await;
}

#[tokio::test]
async fn an_error_aborts_the_cells_that_wait_and_no_later_one() {
    let mut front_end = FrontEnd::start().await;
    let failing = front_end.execute("sleep 300\nfail on purpose").await;
    let waiting = [
        front_end.execute("print a").await,
        front_end.execute("print b").await,
    ];
    assert_eq!(front_end.until_idle(&failing).await.len(), 4);
    assert_eq!(front_end.reply(&failing).await["status"], "error");
    for id in &waiting {
        assert_eq!(
            front_end.until_idle(id).await,
            ["status busy", "status idle"]
        );
        let reply = front_end.reply(id).await;
        assert_eq!(reply, json!({ "status": "aborted" }));
    }
    let (published, _) = front_end.run("print c").await;
    assert_eq!(published[1], input("print c", 2));
    front_end.finish().await;
}

#[tokio::test]
async fn cells_that_were_sent_together_with_a_failing_one_are_aborted() {
    let mut front_end = FrontEnd::start().await;
    for _ in 0..20 {
        let failing = front_end.execute("fail at once").await;
        let next = front_end.execute("print never").await;
        front_end.until_idle(&failing).await;
        assert_eq!(front_end.reply(&failing).await["status"], "error");
        assert_eq!(
            front_end.until_idle(&next).await,
            ["status busy", "status idle"]
        );
        assert_eq!(front_end.reply(&next).await["status"], "aborted");
    }
    front_end.finish().await;
}

#[tokio::test]
async fn an_error_aborts_nothing_where_that_is_not_asked_for() {
    let mut front_end = FrontEnd::start().await;
    let request = ExecuteRequest {
        stop_on_error: false,
        ..cell("sleep 200\nfail")
    };
    let failing = front_end.send(request).await;
    let next = front_end.execute("print a").await;
    front_end.until_idle(&failing).await;
    front_end.until_idle(&next).await;
    assert_eq!(front_end.reply(&failing).await["status"], "error");
    assert_eq!(front_end.reply(&next).await["status"], "ok");
    front_end.finish().await;
}

#[tokio::test]
async fn fields_that_a_client_leaves_out_have_their_defaults() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end
        .send_json("execute_request", json!({ "code": "ask name" }))
        .await;
    let published = front_end.until_idle(&id).await;
    assert_eq!(published[1], input("ask name", 1));
    assert_eq!(front_end.reply(&id).await["ename"], "InputError");
    front_end.finish().await;
}
