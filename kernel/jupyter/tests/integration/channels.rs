//! The requests other than cells: what is answered, and that it is answered while a cell runs or
//! the language is still being made.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use jupyter::ExitReason;
use jupyter_protocol::KernelInfoRequest;
use jupyter_protocol::connection_info::Transport;
use jupyter_protocol::messaging::{
    CommClose, CommId, CommInfoRequest, CommMsg, CommOpen, CompleteRequest, InspectRequest,
    IsCompleteRequest, ShutdownRequest,
};
use serde_json::{Map, Value, json};
use zeromq::{SocketRecv, SocketSend};

use crate::front_end::{FrontEnd, PATIENCE, Start, describe, read};

const BUSY_IDLE: [&str; 2] = ["status busy", "status idle"];

#[tokio::test]
async fn kernel_info_is_answered_on_shell_and_control() {
    let mut front_end = FrontEnd::start().await;
    let expected = json!({
        "status": "ok", "protocol_version": "5.4",
        "implementation": "echo", "implementation_version": "1.0",
        "language_info": {
            "name": "echo", "version": "1.0", "mimetype": "text/plain", "file_extension": ".echo",
        },
        "banner": "Echo", "help_links": [{ "text": "Echo", "url": "https://example.org" }],
        "debugger": false,
    });
    let id = front_end.send(KernelInfoRequest {}).await;
    assert_eq!(front_end.reply(&id).await, expected);
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    let id = front_end.send_control(KernelInfoRequest {}).await;
    assert_eq!(front_end.control_reply(&id).await, expected);
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    front_end.finish().await;
}

#[tokio::test]
async fn everything_works_over_ipc_and_leaves_no_file() {
    let start = Start {
        transport: Transport::IPC,
        ..Start::default()
    };
    let mut front_end = start.start().await;
    let (published, reply) = front_end.run("print hello").await;
    assert_eq!(published[2], r#"stdout "hello\n""#);
    assert_eq!(reply["status"], "ok");
    let sockets = |front_end: &FrontEnd| {
        let files = std::fs::read_dir(front_end.folder.path()).unwrap();
        files
            .filter(|f| f.as_ref().unwrap().file_name() != "connection.json")
            .count()
    };
    assert_eq!(sockets(&front_end), 5);
    let id = front_end
        .send_control(ShutdownRequest { restart: true })
        .await;
    assert_eq!(front_end.control_reply(&id).await["restart"], true);
    front_end.until_idle(&id).await;
    assert_eq!(front_end.join(), ExitReason::Shutdown { restart: true });
    assert_eq!(sockets(&front_end), 0);
}

#[tokio::test]
async fn the_heartbeat_gives_back_what_it_gets() {
    let mut front_end = FrontEnd::start().await;
    let heartbeat = &mut front_end.heartbeat.socket;
    for beat in ["one", "two"] {
        heartbeat.send(beat.into()).await.unwrap();
        let echoed = tokio::time::timeout(PATIENCE, heartbeat.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(echoed.into_vec(), [beat]);
    }
    front_end.finish().await;
}

#[tokio::test]
async fn is_complete_passes_the_indent_of_the_next_line() {
    let mut front_end = FrontEnd::start().await;
    for (code, expected) in [
        ("print a", json!({ "status": "complete", "indent": "" })),
        (
            "print a\\",
            json!({ "status": "incomplete", "indent": "  " }),
        ),
        ("\0", json!({ "status": "invalid", "indent": "" })),
    ] {
        let id = front_end
            .send(IsCompleteRequest {
                code: code.to_owned(),
            })
            .await;
        assert_eq!(front_end.reply(&id).await, expected);
        assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    }
    front_end.finish().await;
}

#[tokio::test]
async fn completion_counts_code_points() {
    let mut front_end = FrontEnd::start().await;
    let request = CompleteRequest {
        code: "🦀 가 pr and".to_owned(),
        cursor_pos: 6,
    };
    let id = front_end.send(request).await;
    let reply = front_end.reply(&id).await;
    assert_eq!(
        reply,
        json!({
            "status": "ok", "matches": ["print"], "cursor_start": 4, "cursor_end": 6,
            "metadata": { "_jupyter_types_experimental": [
                { "start": 4, "end": 6, "text": "print", "type": "command", "signature": "" },
            ] },
        })
    );
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    front_end.finish().await;
}

/// A request with -1 got no reply at all.
#[tokio::test]
async fn a_cursor_that_is_no_position_is_at_the_end() {
    let mut front_end = FrontEnd::start().await;
    let code = "🦀 pr";
    for cursor in [json!(-1), json!(null), json!(1.5)] {
        let request = json!({ "code": code, "cursor_pos": cursor });
        let id = front_end
            .send_json("complete_request", request.clone())
            .await;
        let reply = front_end.reply(&id).await;
        let places = (
            &reply["matches"],
            &reply["cursor_start"],
            &reply["cursor_end"],
        );
        assert_eq!(
            places,
            (&json!(["print"]), &json!(2), &json!(4)),
            "{cursor}"
        );
        assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
        let id = front_end.send_json("inspect_request", request).await;
        assert_eq!(front_end.reply(&id).await["status"], "ok", "{cursor}");
        assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    }
    front_end.finish().await;
}

#[tokio::test]
async fn inspection_tells_found_from_not_found() {
    let mut front_end = FrontEnd::start().await;
    let mut request = InspectRequest {
        code: "가 print".to_owned(),
        cursor_pos: 7,
        detail_level: Some(1),
    };
    let id = front_end.send(request.clone()).await;
    let found = json!({ "text/plain": "print: a command (1)" });
    let expected = json!({ "status": "ok", "found": true, "data": found, "metadata": {} });
    assert_eq!(front_end.reply(&id).await, expected);
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    request.cursor_pos = 1;
    let id = front_end.send(request).await;
    let expected = json!({ "status": "ok", "found": false, "data": {}, "metadata": {} });
    assert_eq!(front_end.reply(&id).await, expected);
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    front_end.finish().await;
}

#[tokio::test]
async fn the_ports_are_told_to_who_asks() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.send_json("connect_request", json!({})).await;
    let reply = front_end.reply(&id).await;
    assert_eq!(reply["iopub_port"], front_end.info.iopub_port);
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    front_end.finish().await;
}

fn comm_open(id: &str, target: &str) -> CommOpen {
    let comm_id = CommId(id.to_owned());
    CommOpen {
        comm_id,
        target_name: target.to_owned(),
        ..CommOpen::default()
    }
}

#[tokio::test]
async fn comms_are_opened_used_listed_and_closed() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.send(comm_open("x", "unknown")).await;
    let published = front_end.until_idle(&id).await;
    assert_eq!(
        published,
        [
            "status busy",
            r#"comm_close {"comm_id":"x","data":{}}"#,
            "status idle"
        ]
    );

    let id = front_end.send(comm_open("a", "echo")).await;
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    let (published, _) = front_end.run("comm mine").await;
    let opened = r#"comm_open {"target_name":"mine","comm_id":"comm-mine","data":{}}"#;
    assert_eq!(published[2], opened);

    let data: Map<String, Value> = [("n".to_owned(), json!(1))].into_iter().collect();
    let id = front_end
        .send(CommMsg {
            comm_id: CommId("a".to_owned()),
            data,
        })
        .await;
    let published = front_end.until_idle(&id).await;
    assert_eq!(
        published[1],
        r#"comm_msg {"comm_id":"a","data":{"n":1,"echoed":true}}"#
    );

    let id = front_end.send(CommInfoRequest { target_name: None }).await;
    let comms = &front_end.reply(&id).await["comms"];
    let both = json!({ "a": { "target_name": "echo" }, "comm-mine": { "target_name": "mine" } });
    assert_eq!(*comms, both);
    front_end.until_idle(&id).await;

    let comm_id = CommId("a".to_owned());
    let id = front_end
        .send(CommClose {
            comm_id,
            ..CommClose::default()
        })
        .await;
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    let id = front_end
        .send(CommInfoRequest {
            target_name: Some("echo".to_owned()),
        })
        .await;
    assert_eq!(front_end.reply(&id).await["comms"], json!({}));
    front_end.until_idle(&id).await;
    front_end.finish().await;
}

#[tokio::test]
async fn requests_are_answered_while_a_cell_runs_and_it_stays_busy() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.send(comm_open("a", "echo")).await;
    front_end.until_idle(&id).await;
    let running = front_end.execute("sleep 3000").await;
    let published = [front_end.next_iopub().await, front_end.next_iopub().await];
    assert_eq!(published[0], "status busy");

    let started = Instant::now();
    let id = front_end.send(KernelInfoRequest {}).await;
    assert_eq!(front_end.reply(&id).await["status"], "ok");
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    let id = front_end
        .send(CommMsg {
            comm_id: CommId("a".to_owned()),
            data: Map::new(),
        })
        .await;
    assert_eq!(front_end.until_idle(&id).await.len(), 3);
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );

    // The front end believes the last status it saw: that of the comm message would be wrong.
    let status = read(&mut front_end.iopub).await;
    assert_eq!(status.parent, running);
    assert_eq!(describe(&status), "status busy");
    assert_eq!(front_end.until_idle(&running).await, ["status idle"]);
    assert_eq!(front_end.reply(&running).await["status"], "ok");
    front_end.finish().await;
}

#[tokio::test]
async fn what_a_comm_leaves_to_do_waits_for_the_cell() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.send(comm_open("a", "echo")).await;
    front_end.until_idle(&id).await;
    let running = front_end.execute("sleep 600").await;
    let begun = [front_end.next_iopub().await, front_end.next_iopub().await];
    assert_eq!(begun[0], "status busy");
    let data: Map<String, Value> = [("later".to_owned(), json!(true))].into_iter().collect();
    let message = CommMsg {
        comm_id: CommId("a".to_owned()),
        data,
    };
    let id = front_end.send(message).await;
    // Taken note of at once, seen to when the cell has ended.
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    assert_eq!(
        front_end.until_idle(&running).await,
        ["status busy", "status idle"]
    );
    front_end.reply(&running).await;
    assert_eq!(front_end.next_iopub().await, "status busy");
    // Another message meanwhile does not leave the kernel idle.
    let comm_id = CommId("a".to_owned());
    let second = front_end
        .send(CommMsg {
            comm_id,
            data: Map::new(),
        })
        .await;
    assert_eq!(front_end.until_idle(&second).await.len(), 3);
    let published = front_end.until_idle(&id).await;
    assert_eq!(published[0], "status busy");
    assert!(published[1].contains("attended"), "{}", published[1]);
    front_end.finish().await;
}

async fn complete(front_end: &mut FrontEnd, code: &str) -> String {
    let cursor_pos = code.chars().count();
    let code = code.to_owned();
    front_end.send(CompleteRequest { code, cursor_pos }).await
}

#[tokio::test]
async fn completion_answers_while_a_cell_runs() {
    let mut front_end = FrontEnd::start().await;
    let running = front_end.execute("sleep 1000").await;
    // Requests that are sent together are answered in any order.
    assert_eq!(front_end.next_iopub().await, "status busy");
    assert!(front_end.next_iopub().await.starts_with("execute_input"));
    let id = complete(&mut front_end, "pr").await;
    let reply = front_end.reply(&id).await;
    assert_eq!(
        (&reply["status"], &reply["matches"]),
        (&"ok".into(), &json!(["print"]))
    );
    for expected in ["status busy", "status idle", "status busy"] {
        assert_eq!(front_end.next_iopub().await, expected);
    }
    assert_eq!(front_end.until_idle(&running).await, ["status idle"]);
    front_end.reply(&running).await;
    front_end.assert_alive().await;
    front_end.finish().await;
}

#[tokio::test]
async fn behind_a_completion_that_takes_long_nothing_is_found() {
    let mut front_end = FrontEnd::start().await;
    let slow = complete(&mut front_end, "slow").await;
    let started = Instant::now();
    let behind = complete(&mut front_end, "pr").await;
    let reply = front_end.reply(&behind).await;
    assert!(
        started.elapsed() < Duration::from_millis(1500),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        (&reply["status"], &reply["matches"]),
        (&"ok".into(), &json!([]))
    );
    assert_eq!(
        (&reply["cursor_start"], &reply["cursor_end"]),
        (&2.into(), &2.into())
    );
    assert_eq!(front_end.until_idle(&behind).await, BUSY_IDLE);
    // It is answered when its answer is known.
    assert_eq!(front_end.reply(&slow).await["status"], "ok");
    assert_eq!(front_end.until_idle(&slow).await, BUSY_IDLE);
    front_end.assert_alive().await;
    front_end.finish().await;
}

#[tokio::test]
async fn a_completion_that_fails_finds_nothing_and_others_find_something() {
    let mut front_end = FrontEnd::start().await;
    for (code, found) in [("fault", json!([])), ("pr", json!(["print"]))] {
        let id = complete(&mut front_end, code).await;
        assert_eq!(front_end.reply(&id).await["matches"], found);
        assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    }
    front_end.assert_alive().await;
    front_end.finish().await;
}

#[tokio::test]
async fn kernel_info_does_not_wait_for_the_language_and_cells_do() {
    let start = Start {
        delay: Duration::from_secs(2),
        ..Start::default()
    };
    let mut front_end = start.start().await;
    let cell = front_end.execute("print ready").await;
    let started = Instant::now();
    let id = front_end.send(KernelInfoRequest {}).await;
    front_end.reply(&id).await;
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    assert_eq!(front_end.until_idle(&cell).await[2], r#"stdout "ready\n""#);
    assert_eq!(front_end.reply(&cell).await["status"], "ok");
    front_end.finish().await;
}

async fn history(front_end: &mut FrontEnd, content: Value) -> Value {
    let id = front_end.send_json("history_request", content).await;
    assert_eq!(front_end.until_idle(&id).await, BUSY_IDLE);
    front_end.reply(&id).await["history"].clone()
}

#[tokio::test]
async fn history_outlives_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/history.jsonl");
    let start = || Start {
        history_file: Some(file.clone()),
        ..Start::default()
    };
    let mut first = start().start().await;
    for code in ["print a", "1", "print a"] {
        first.run(code).await;
    }
    first.finish().await;

    let mut second = start().start().await;
    second.run("print b").await;
    let tail = history(&mut second, json!({ "hist_access_type": "tail", "n": 2 })).await;
    assert_eq!(tail, json!([[1, 3, "print a"], [2, 1, "print b"]]));
    let range = json!({ "hist_access_type": "range", "session": -1, "start": 2, "output": true });
    let range = history(&mut second, range).await;
    assert_eq!(
        range,
        json!([[1, 2, ["1", null]], [1, 3, ["print a", null]]])
    );
    let range = json!({ "hist_access_type": "range", "session": 1, "start": 1, "stop": 2 });
    assert_eq!(
        history(&mut second, range).await,
        json!([[1, 1, "print a"]])
    );
    let search = json!({ "hist_access_type": "search", "pattern": "print*", "unique": true });
    let search = history(&mut second, search).await;
    assert_eq!(search, json!([[1, 3, "print a"], [2, 1, "print b"]]));
    let search = json!({ "hist_access_type": "search", "pattern": "*a*", "n": 1 });
    assert_eq!(
        history(&mut second, search).await,
        json!([[1, 3, "print a"]])
    );
    second.finish().await;

    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
