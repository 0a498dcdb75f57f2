//! What the runner survives, and what it leaves behind: nothing.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::supervisor::{Runner, cells};

/// The supervisor's children and theirs, with the letter of their state.
fn descendants(process: u32) -> Vec<(u32, char)> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let mut found = Vec::new();
    for child in children.unwrap_or_default().split_whitespace() {
        let child: u32 = child.parse().expect("a process");
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        found.push((child, state.unwrap_or('X')));
        found.extend(descendants(child));
    }
    found
}

fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd"))
        .expect("a living process")
        .count()
}

fn kill(process: u32) {
    let killed = Command::new("kill")
        .args(["-9", &process.to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
}

/// Waits until something is so.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < limit, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_thousand_cells_leave_no_process_and_no_descriptor() {
    let runner = Runner::start();
    let mut control = runner.control();
    let supervisor = runner.process.id();
    let count = || {
        // The old snapshot is buried after the answer.
        wait_until("one worker and one snapshot", || {
            descendants(supervisor).len() == 2
        });
        let processes = descendants(supervisor);
        let of_each = processes.iter().map(|&(process, _)| descriptors(process));
        (descriptors(supervisor), of_each.collect::<Vec<_>>())
    };
    control.run("up");
    let at_first = count();
    for _ in 0..1000 {
        assert_eq!(control.run("up")["end"]["status"], "ok");
    }
    // One that has just come up may have a descriptor more for a moment; what leaks has hundreds, for good.
    wait_until("no more descriptors than at first", || {
        let now = count();
        now.0 == at_first.0 && now.1.iter().zip(&at_first.1).all(|(now, then)| now <= then)
    });
    for _ in 0..20 {
        assert_eq!(control.run("up_and_abort")["restored"], true);
    }
    assert_eq!(count().0, at_first.0);
}

#[test]
fn what_a_dead_cell_left_running_is_buried_when_it_ends() {
    let runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    assert_eq!(control.run("leave_and_abort")["restored"], true);
    wait_until("an orphan or a zombie stays", || {
        let left = descendants(runner.process.id());
        left.len() == 2 && left.iter().all(|&(_, state)| state != 'Z')
    });
}

#[test]
fn a_good_exit_is_a_death_as_well() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let ended = control.run("up_and_exit");
    assert_eq!(ended["end"]["failure"]["ename"], "ProcessExit");
    control.run("tell");
    assert_eq!(runner.line(), "1");
}

#[test]
fn a_snapshot_that_is_killed_is_replaced() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    control.run("tell_process");
    let worker: u32 = runner.line().parse().expect("a process");
    let is_snapshot = |&(process, _): &(u32, char)| process != worker;
    let snapshot = || {
        descendants(runner.process.id())
            .into_iter()
            .find(is_snapshot)
    };
    // The one before is buried after the answer.
    wait_until("one worker and one snapshot", || {
        descendants(runner.process.id()).len() == 2
    });
    let first = snapshot().expect("a snapshot");
    kill(first.0);
    wait_until("no other snapshot", || {
        snapshot().is_some_and(|(process, state)| process != first.0 && state != 'Z')
    });
    kill(worker);
    wait_until("no other worker", || {
        descendants(runner.process.id())
            .iter()
            .all(|&(process, _)| process != worker)
    });
    control.run("tell");
    assert_eq!(runner.line(), "1");
}

#[test]
fn a_cell_that_takes_too_much_memory_is_told_and_undone() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    control.send(&json!({"Limit": {"bytes": 200_000_000}}));
    let usage = control.receive()["Memory"].take();
    assert!(usage["worker"].as_u64().expect("bytes") > 0, "{usage}");
    let ended = control.run("up_and_fill");
    assert_eq!(ended["restored"], true);
    assert_eq!(ended["end"]["failure"]["ename"], "MemoryLimit");
    let said = ended["end"]["failure"]["evalue"].to_string();
    assert!(said.contains("limit of 200 MB"), "{said}");
    // The process that took its place is held to it as well.
    assert_eq!(
        control.run("up_and_fill")["end"]["failure"]["ename"],
        "MemoryLimit"
    );
    control.send(&json!({"Limit": {"bytes": null}}));
    control.receive();
    control.run("tell");
    assert_eq!(runner.line(), "1");
}

#[test]
fn a_limit_below_what_is_taken_is_not_set() {
    let runner = Runner::start();
    let mut control = runner.control();
    control.run("take_a_gigabyte");
    control.send(&json!({"Limit": {"bytes": 500_000_000}}));
    let usage = control.receive()["Memory"].take();
    let taken = |of: &str| usage[of].as_u64().expect("bytes");
    assert!(
        taken("worker") + taken("snapshot") > 1_000_000_000,
        "{usage}"
    );
    assert_eq!(control.run("up")["end"]["status"], "ok");
}

#[test]
fn an_interrupt_reaches_the_program_that_a_cell_waits_for() {
    interrupt_program(Runner::start());
}

/// Every process that a shell starts in the background begins with interrupts ignored.
#[test]
fn the_same_where_interrupts_are_ignored() {
    interrupt_program(Runner::start_with_interrupts_ignored());
}

fn interrupt_program(mut runner: Runner) {
    let mut control = runner.control();
    control.run("up");
    control.send(&json!({"Run": {"library": cells(), "function": "up_and_wait"}}));
    let mut other = runner.control();
    // For a moment there may be two snapshots: it is the name that tells.
    let is_program = |process: u32| {
        fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name == "sleep\n")
    };
    wait_until("the program does not start", || {
        let processes = descendants(runner.process.id());
        processes.iter().any(|&(process, _)| is_program(process))
    });
    other.send(&json!("Interrupt"));
    assert_eq!(other.receive(), "Done");
    let ended = control.receive()["Ended"].take();
    assert_eq!(
        (&ended["end"]["status"], &ended["restored"]),
        (&json!("ok"), &json!(false))
    );
    control.run("tell");
    assert_eq!(runner.line(), "2");
}

#[test]
fn lost_threads_are_named() {
    let runner = Runner::start();
    let mut control = runner.control();
    control.run("start_thread");
    let ended = control.run("up_and_abort");
    let hint = ended["end"]["failure"]["hint"].to_string();
    assert!(hint.contains("`ticker`"), "{hint}");
}

#[test]
fn the_supervisor_ends_with_its_kernel_and_takes_all_along() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    control.send(&json!({"Run": {"library": cells(), "function": "up_for_ever"}}));
    let processes = descendants(runner.process.id());
    assert_eq!(processes.len(), 2);
    drop(runner.process.stdin.take());
    wait_until("a process stays", || {
        processes.iter().all(|(process, _)| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat"));
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        })
    });
}
