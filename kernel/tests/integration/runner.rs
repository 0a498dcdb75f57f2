//! The cell runner by its sockets: the kernel's orders, evcxr's through the relay, and both at once.

use std::{
    fs::{self, File},
    path::Path,
    thread,
    time::Duration,
};

use serde_json::json;

use crate::supervisor::{COMPLETE, Runner, cells};

#[test]
fn the_kernel_and_evcxr_share_the_variables() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    assert_eq!(control.run("up")["end"]["status"], "ok");
    let mut evcxr = runner.evcxr();
    assert_eq!(evcxr.run("up"), COMPLETE);
    control.run("tell");
    assert_eq!(runner.line(), "2");
}

#[test]
fn a_cell_that_dies_is_told_and_undone() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let ended = control.run("up_and_abort");
    assert_eq!(ended["restored"], true);
    assert_eq!(ended["lost_all"], false);
    assert_eq!(ended["end"]["failure"]["ename"], "SIGABRT");
    control.run("tell");
    assert_eq!(runner.line(), "1");
}

#[test]
fn a_child_that_returns_from_a_cell_serves_no_cells() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    assert_eq!(control.run("up_and_fork")["end"]["status"], "ok");
    // Two that served would share the orders: some of these would not come to this counter.
    for _ in 0..9 {
        assert_eq!(control.run("up")["end"]["status"], "ok");
    }
    control.run("tell");
    assert_eq!(runner.line(), "10");
}

#[test]
fn a_cell_that_closes_its_output_loses_nothing_and_the_next_one_prints() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let ended = control.run("up_and_close");
    assert_eq!(
        (&ended["end"]["status"], &ended["lost_all"]),
        (&"ok".into(), &false.into())
    );
    control.run("tell");
    assert_eq!(runner.line(), "2");
    assert_eq!(control.run("up_and_abort")["restored"], true);
    control.run("tell");
    assert_eq!(runner.line(), "2");
}

#[test]
fn the_first_cell_that_dies_loses_nothing_and_the_next_one_runs() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    let ended = control.run("up_and_abort");
    assert_eq!(ended["end"]["failure"]["ename"], "SIGABRT");
    assert_eq!(ended["restored"], true);
    control.run("tell");
    assert_eq!(runner.line(), "0");
}

#[test]
fn an_endless_cell_is_ended_on_request() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let library = cells();
    control.send(&json!({"Run": {"library": library, "function": "up_for_ever"}}));
    let mut other = runner.control();
    // Before the order to run, the order to end has no cell to end.
    thread::sleep(Duration::from_millis(300));
    other.send(&json!("EndCell"));
    assert_eq!(other.receive(), "Done");
    assert_eq!(control.receive()["Ended"]["restored"], true);
    control.run("tell");
    assert_eq!(runner.line(), "1");
}

#[test]
fn evcxrs_end_of_its_child_leaves_the_variables_alone() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let mut evcxr = runner.evcxr();
    evcxr.run("up");
    evcxr.relay.kill().expect("is killed");
    drop(evcxr);
    control.run("tell");
    assert_eq!(runner.line(), "2");
    assert_eq!(runner.evcxr().run("up"), COMPLETE);
}

#[test]
fn the_variables_are_forgotten_on_request() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    control.send(&json!("Forget"));
    assert_eq!(control.receive(), "Done");
    control.run("tell");
    assert_eq!(runner.line(), "0");
}

#[test]
fn a_cell_of_evcxr_that_dies_is_rolled_back() {
    let mut runner = Runner::start();
    let mut evcxr = runner.evcxr();
    evcxr.run("up");
    assert_eq!(evcxr.run("up_and_abort"), b"\xFF\n");
    assert_eq!(evcxr.run("tell"), COMPLETE);
    assert_eq!(runner.line(), "1");
}

#[test]
fn an_empty_library_is_a_cell_that_has_been_run() {
    let runner = Runner::start();
    let empty = runner.folder.path().join("empty.so");
    File::create(&empty).expect("a file");
    assert_eq!(runner.evcxr().run_library(&empty, "any"), COMPLETE);
}

#[test]
fn a_library_that_cannot_be_loaded_is_an_error_and_no_more() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let ended = control.run_library(Path::new("/nowhere.so"), "up");
    assert_eq!(ended["end"]["status"], "notrun");
    assert_eq!(ended["end"]["failure"]["ename"], "LoadError");
    control.run("tell");
    assert_eq!(runner.line(), "1");
}

#[test]
fn a_static_is_one_in_all_libraries_and_as_old_as_the_variables() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    let other = runner.folder.path().join("other.so");
    fs::copy(cells(), &other).expect("a library");
    for (library, expected) in [(cells(), "1"), (&other, "2"), (cells(), "3")] {
        control.run_library(library, "tell_shared");
        assert_eq!(runner.line(), expected);
    }
    assert_eq!(control.run("up_and_abort")["restored"], true);
    control.run_library(&other, "tell_shared");
    assert_eq!(runner.line(), "4");
}
