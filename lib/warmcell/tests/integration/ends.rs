//! How a cell's end is reported: by a panic, by an error of any type from `?`, or well.

use std::panic::{catch_unwind, resume_unwind, set_hook};

use serde_json::{Value, json};
use warmcell::{
    AutoModelForCausalLM,
    cell::{self, variables::VariableStore},
};

use crate::unsafe_report::run_cell;

#[test]
fn a_good_end_has_no_failure() {
    let report = run_cell(|| ());
    assert_eq!(
        report,
        json!({"status": "ok", "failure": null, "lost_variables": [], "values": []})
    );
}

/// As evcxr's generated code does it: the cell is caught, then reported.
#[test]
fn a_panic_has_its_message() {
    let report = run_cell(|| {
        let caught = catch_unwind(|| panic!("가 {}", 7));
        assert!(caught.is_err());
        cell::panicked();
    });
    assert_eq!(report["status"], "panic");
    assert_eq!(report["failure"]["ename"], "panic");
    assert_eq!(report["failure"]["evalue"], "가 7");
    // This file is no cell's: its lines would point into the wrong source.
    assert_eq!(report["failure"]["location"], Value::Null);
}

#[test]
fn a_panic_that_the_cell_catches_is_no_failure() {
    let report = run_cell(|| assert!(catch_unwind(|| panic!("caught")).is_err()));
    assert_eq!(
        report,
        json!({"status": "ok", "failure": null, "lost_variables": [], "values": []})
    );
}

/// Runs statements as a cell of the direct way does.
fn run_statements(statements: fn()) -> Value {
    run_cell(|| {
        cell::run(&mut VariableStore::default(), |_| {
            statements();
            Ok(())
        });
    })
}

#[test]
fn a_panic_has_its_message_under_a_hook_of_the_cells_own_too() {
    let report = run_statements(|| {
        set_hook(Box::new(|_| {}));
        panic!("number {}", 5);
    });
    assert_eq!(report["failure"]["evalue"], "number 5");
    // The next cell has the library's hook again, by which this way of running one knows the message.
    let report = run_cell(|| {
        assert!(catch_unwind(|| panic!("number 6")).is_err());
        cell::panicked();
    });
    assert_eq!(report["failure"]["evalue"], "number 6");
}

#[test]
fn what_a_cell_caught_is_not_what_it_failed_by() {
    let report = run_statements(|| {
        assert!(catch_unwind(|| panic!("caught")).is_err());
        resume_unwind(Box::new("raised"));
    });
    assert_eq!(report["failure"]["evalue"], "raised");
}

#[test]
fn a_panic_on_another_thread_is_not_the_cells() {
    let report = run_cell(|| {
        let other = std::thread::spawn(|| panic!("elsewhere"));
        assert!(other.join().is_err());
    });
    assert_eq!(report["status"], "ok");
}

#[test]
fn the_next_cell_starts_afresh() {
    run_cell(cell::panicked);
    assert_eq!(run_cell(|| ())["status"], "ok");
}

#[test]
fn an_error_has_its_types_name() {
    let report = run_cell(|| {
        let error = "x".parse::<u32>().expect_err("is no number");
        cell::question_mark(&error);
    });
    assert_eq!(report["status"], "error");
    assert_eq!(report["failure"]["ename"], "ParseIntError");
    assert_eq!(report["failure"]["evalue"], "invalid digit found in string");
}

#[test]
fn an_error_of_this_library_has_its_kind_and_hint_also_in_a_box() {
    let error = AutoModelForCausalLM::from_pretrained("x")
        .device_map("tpu")
        .load()
        .expect_err("is no device");
    let check = |report: Value| {
        assert_eq!(report["failure"]["ename"], "InvalidArgument");
        assert_eq!(report["failure"]["evalue"], "there is no device `tpu`");
        assert_eq!(
            report["failure"]["hint"],
            "use \"auto\", \"cpu\", \"cuda\" or \"cuda:0\""
        );
    };
    check(run_cell(|| cell::question_mark(&error)));
    let boxed: Box<dyn std::error::Error> = Box::new(error.clone());
    check(run_cell(|| cell::question_mark(&boxed)));
    // Text around it is the user's error, and is kept whole.
    let report = run_cell(|| cell::question_mark(&format!("while loading: {error}")));
    assert_eq!(report["failure"]["ename"], "String");
}

#[test]
fn lost_variables_are_named() {
    let report = run_cell(|| cell::variable_lost("counts"));
    assert_eq!(report["lost_variables"], json!(["counts"]));
}
