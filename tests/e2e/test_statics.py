"""Statics keep their values for later cells: all libraries of cells have the same ones."""

SETUP = """use std::sync::{Mutex, OnceLock, LazyLock, atomic::{AtomicUsize, Ordering}};
#[derive(Debug, Clone)] struct Line(u32);
static LOG: Mutex<Vec<Line>> = Mutex::new(Vec::new());
static mut RAW: i32 = 0;
static ONCE: OnceLock<String> = OnceLock::new();
static LAZY: LazyLock<Mutex<u32>> = LazyLock::new(|| Mutex::new(5));
static SAME: &Mutex<Vec<Line>> = &LOG;
fn next() -> usize { static COUNT: AtomicUsize = AtomicUsize::new(1); COUNT.fetch_add(1, Ordering::Relaxed) }
fn log(line: u32) { LOG.lock().unwrap().push(Line(line)); }
mod inner { pub static DEEP: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0); }"""


def silent(outcome):
    outcome.expect_ok()
    assert outcome.stream("stderr") == ""
    return outcome


def test_what_a_cell_puts_into_a_static_is_there_for_the_next(kernel):
    silent(kernel.run(SETUP))
    silent(kernel.run("log(1); unsafe { RAW += 3 }; ONCE.set(\"first\".into()).unwrap(); *LAZY.lock().unwrap() += 1; next();"))
    silent(kernel.run("LOG.lock().unwrap().push(Line(2)); inner::DEEP.fetch_add(4, Ordering::Relaxed); next();"))
    values = "(LOG.lock().unwrap().clone(), std::ptr::eq(SAME, &LOG), unsafe { RAW }, ONCE.get(), *LAZY.lock().unwrap(), next(), inner::DEEP.load(Ordering::Relaxed))"
    assert silent(kernel.run(values)).result == '([Line(1), Line(2)], true, 3, Some("first"), 6, 3, 4)'


def test_a_static_is_one_for_threads_closures_and_borrows_of_earlier_cells(kernel):
    silent(kernel.run("use std::sync::atomic::{AtomicU32, Ordering};\nstatic TICKS: AtomicU32 = AtomicU32::new(0);"))
    silent(kernel.run("let tick: Box<dyn Fn()> = Box::new(|| { TICKS.fetch_add(1, Ordering::Relaxed); }); let lent: &'static AtomicU32 = &TICKS;"))
    silent(kernel.run("tick(); std::thread::spawn(|| TICKS.fetch_add(10, Ordering::Relaxed)).join().unwrap();"))
    assert silent(kernel.run("tick(); (TICKS.load(Ordering::Relaxed), lent.load(Ordering::Relaxed))")).result == "(12, 12)"


def test_a_static_defined_anew_begins_anew(kernel):
    define = "use std::sync::atomic::{AtomicU32, Ordering};\nstatic SUM: AtomicU32 = AtomicU32::new(1);"
    add = "SUM.fetch_add(1, Ordering::Relaxed)"
    silent(kernel.run(define))
    assert [silent(kernel.run(add)).result for _ in range(3)] == ["1", "2", "3"]
    silent(kernel.run(define))
    assert silent(kernel.run(add)).result == "1"


def test_a_static_whose_type_is_defined_anew_begins_anew_and_says_so(kernel):
    silent(kernel.run("struct Item { a: u8 }\nstatic ITEMS: std::sync::Mutex<Vec<Item>> = std::sync::Mutex::new(Vec::new());"))
    silent(kernel.run("ITEMS.lock().unwrap().push(Item { a: 1 });"))
    again = kernel.run("struct Item { a: f64, b: f64 }").expect_ok()
    assert "the static `ITEMS`" in again.stream("stderr") and "begins anew" in again.stream("stderr")
    assert silent(kernel.run("ITEMS.lock().unwrap().len()")).result == "0"
    silent(kernel.run("ITEMS.lock().unwrap().push(Item { a: 1.5, b: 2.5 });"))
    assert silent(kernel.run("ITEMS.lock().unwrap()[0].b")).result == "2.5"


def test_a_static_goes_back_with_a_cell_that_panics_or_dies_and_stays_with_an_error(kernel):
    silent(kernel.run("static LEDGER: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());"))
    silent(kernel.run("LEDGER.lock().unwrap().push(1);"))
    assert kernel.run("let mut held = LEDGER.lock().unwrap(); held.push(2); panic!(\"on purpose\")").status == "error"
    assert silent(kernel.run("LEDGER.lock().unwrap().clone()")).result == "[1]"
    assert kernel.run("LEDGER.lock().unwrap().push(3); std::process::abort()").status == "error"
    assert silent(kernel.run("LEDGER.lock().unwrap().clone()")).result == "[1]"
    assert kernel.run("LEDGER.lock().unwrap().push(4); \"x\".parse::<u8>()?;").status == "error"
    assert silent(kernel.run("LEDGER.lock().unwrap().clone()")).result == "[1, 4]"


def test_a_static_that_a_failed_cell_defined_is_no_later_cells(kernel):
    define = "static FIRST: std::sync::Mutex<Vec<{0}>> = std::sync::Mutex::new(Vec::new());\nFIRST.lock().unwrap().push({1});"
    assert kernel.run(define.format("u8", "1") + "\n\"x\".parse::<u8>()?;").status == "error"
    silent(kernel.run(define.format("String", "String::from(\"a\")")))
    assert silent(kernel.run("FIRST.lock().unwrap().clone()")).result == '["a"]'


def test_cells_that_wait_have_the_same_statics(kernel):
    silent(kernel.run("use std::sync::atomic::{AtomicU32, Ordering};\nstatic SEEN: AtomicU32 = AtomicU32::new(0);"))
    silent(kernel.run("SEEN.fetch_add(1, Ordering::Relaxed);"))
    kernel.run("async fn see() -> u32 { SEEN.fetch_add(1, Ordering::Relaxed) + 1 }\nlet seen = see().await;").expect_ok()
    assert silent(kernel.run("(seen, SEEN.load(Ordering::Relaxed))")).result == "(2, 2)"
    mixed = kernel.run("static OWN: AtomicU32 = AtomicU32::new(5);\nlet own = async { OWN.fetch_add(1, Ordering::Relaxed) }.await;").expect_ok()
    assert "the static `OWN` begins anew after this cell" in mixed.stream("stderr")
    silent(kernel.run("OWN.fetch_add(2, Ordering::Relaxed);"))
    kernel.run("let own = async { OWN.load(Ordering::Relaxed) }.await;").expect_ok()
    assert silent(kernel.run("own")).result == "7"


def test_errors_in_functions_with_statics_name_their_places(kernel):
    outcome = kernel.run("fn bad() -> usize {\n    static N: usize = 1;\n    missing + N\n}\nbad()")
    assert outcome.status == "error" and "In [" in outcome.traceback and ":3:5" in outcome.traceback
    kernel.run("fn late() -> usize {\n    static N: usize = 1;\n    let v: Vec<usize> = vec![];\n    v[N]\n}").expect_ok()
    outcome = kernel.run("late()")
    assert outcome.status == "error" and ":4:6" in outcome.traceback
