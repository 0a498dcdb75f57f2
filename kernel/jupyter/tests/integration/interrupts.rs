//! Input, interrupts, and the end of the kernel in the middle of something.

use std::time::Duration;

use jupyter::ExitReason;
use jupyter_protocol::messaging::{
    ExecuteRequest, InputReply, InterruptRequest, JupyterMessage, ShutdownRequest,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::front_end::{FrontEnd, Message, PATIENCE, cell, describe, read};

async fn question(front_end: &mut FrontEnd, id: &str) -> Message {
    let question = read(&mut front_end.stdin).await;
    assert_eq!(question.parent, id);
    question
}

/// Answers as `JupyterLab` does, with the question as parent, or as `jupyter_client`, without.
async fn answer(front_end: &mut FrontEnd, text: &str, question: Option<&Message>) {
    let reply = InputReply {
        value: text.to_owned(),
        ..InputReply::default()
    };
    let mut message = JupyterMessage::new(reply, None);
    message.parent_header = question.map(|question| question.header.clone());
    front_end.stdin.send(message).await.unwrap();
}

async fn interrupt(front_end: &mut FrontEnd) -> String {
    let id = front_end.send_control(InterruptRequest {}).await;
    assert_eq!(
        front_end.control_reply(&id).await,
        json!({ "status": "ok" })
    );
    id
}

#[tokio::test]
async fn a_cell_asks_and_goes_on_with_the_answer() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.execute("ask Name? \npassword Secret: ").await;
    let asked = question(&mut front_end, &id).await;
    assert_eq!(
        describe(&asked),
        r#"input_request {"prompt":"Name? ","password":false}"#
    );
    answer(&mut front_end, "가", Some(&asked)).await;
    let asked = question(&mut front_end, &id).await;
    assert_eq!(
        describe(&asked),
        r#"input_request {"prompt":"Secret: ","password":true}"#
    );
    answer(&mut front_end, "b", None).await;
    // In one message or in two, as time would have it.
    let printed = front_end.until_idle(&id).await[2..]
        .concat()
        .replace(r#""stdout ""#, "");
    assert_eq!(printed, r#"stdout "got 가\ngot b\n"status idle"#);
    assert_eq!(front_end.reply(&id).await["status"], "ok");
    front_end.finish().await;
}

#[tokio::test]
async fn who_cannot_be_asked_is_not_asked() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end
        .send(ExecuteRequest {
            allow_stdin: false,
            ..cell("ask Name?")
        })
        .await;
    front_end.until_idle(&id).await;
    let reply = front_end.reply(&id).await;
    assert_eq!(reply["evalue"], "this front end cannot be asked for input");
    front_end.finish().await;
}

#[tokio::test]
async fn an_interrupt_ends_the_wait_for_input() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.execute("ask Name?").await;
    let asked = question(&mut front_end, &id).await;
    assert_eq!(
        [front_end.next_iopub().await, front_end.next_iopub().await][0],
        "status busy"
    );
    interrupt(&mut front_end).await;
    let reply = front_end.reply(&id).await;
    assert_eq!(reply["evalue"], "interrupted while waiting for input");
    // Two of the interrupt; error and idle of the cell.
    for _ in 0..4 {
        front_end.next_iopub().await;
    }

    // An answer that comes too late is not the answer to the next question.
    answer(&mut front_end, "late", Some(&asked)).await;
    let id = front_end.execute("ask Again?").await;
    let asked = question(&mut front_end, &id).await;
    answer(&mut front_end, "new", Some(&asked)).await;
    assert_eq!(front_end.until_idle(&id).await[2], r#"stdout "got new\n""#);
    front_end.reply(&id).await;
    front_end.finish().await;
}

#[tokio::test]
async fn an_interrupt_ends_the_cell_and_aborts_those_that_wait() {
    let mut front_end = FrontEnd::start().await;
    let running = front_end.execute("sleep 60000").await;
    let waiting = front_end.execute("print never").await;
    assert_eq!(
        [front_end.next_iopub().await, front_end.next_iopub().await][0],
        "status busy"
    );
    sleep(Duration::from_millis(100)).await;
    interrupt(&mut front_end).await;
    let mut replies = Vec::new();
    for _ in 0..2 {
        let reply = read(&mut front_end.shell).await;
        replies.push((reply.parent.clone(), describe(&reply)));
    }
    replies.sort_by_key(|(id, _)| *id != running);
    assert!(replies[0].1.contains("KeyboardInterrupt"), "{replies:?}");
    assert_eq!(replies[1].0, waiting);
    assert!(
        replies[1].1.contains(r#""status":"aborted""#),
        "{replies:?}"
    );
    // Busy and idle of the interrupt and the aborted cell, busy again after it if the running one
    // had not ended, error and idle of the running one.
    let mut idle = 0;
    while idle < 3 {
        idle += usize::from(front_end.next_iopub().await == "status idle");
    }
    let (_, reply) = front_end.run("print on").await;
    assert_eq!(reply["status"], "ok");
    front_end.finish().await;
}

#[tokio::test]
async fn a_shutdown_in_a_cell_is_answered_and_the_cell_too() {
    let mut front_end = FrontEnd::start().await;
    let running = front_end.execute("sleep 60000").await;
    let waiting = front_end.execute("print never").await;
    sleep(Duration::from_millis(200)).await;
    let id = front_end
        .send_control(ShutdownRequest { restart: false })
        .await;
    assert_eq!(
        front_end.control_reply(&id).await,
        json!({ "status": "ok", "restart": false })
    );
    assert_eq!(front_end.join(), ExitReason::Shutdown { restart: false });
    let mut replies = Vec::new();
    for _ in 0..2 {
        let reply = read(&mut front_end.shell).await;
        replies.push(reply.parent.clone());
    }
    replies.sort_by_key(|id| *id != running);
    assert_eq!(replies, [running, waiting]);
}

#[tokio::test]
async fn a_cell_that_does_not_listen_does_not_keep_the_kernel() {
    let mut front_end = FrontEnd::start().await;
    front_end.execute("stubborn 60000").await;
    sleep(Duration::from_millis(200)).await;
    let id = front_end
        .send_control(ShutdownRequest { restart: false })
        .await;
    assert_eq!(front_end.control_reply(&id).await["status"], "ok");
    let joined = tokio::task::spawn_blocking(move || front_end.join());
    let reason = timeout(PATIENCE, joined)
        .await
        .expect("the kernel stayed")
        .unwrap();
    assert_eq!(reason, ExitReason::Shutdown { restart: false });
}

#[tokio::test]
async fn a_shutdown_over_shell_is_one_too() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.send(ShutdownRequest { restart: true }).await;
    assert_eq!(
        front_end.reply(&id).await,
        json!({ "status": "ok", "restart": true })
    );
    assert_eq!(
        front_end.until_idle(&id).await,
        ["status busy", "status idle"]
    );
    assert_eq!(front_end.join(), ExitReason::Shutdown { restart: true });
}
