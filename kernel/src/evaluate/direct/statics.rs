//! Statics in definitions. A definition is compiled into the library of each cell that uses it; its statics
//! are exported there, under a symbol that belongs to that definition alone, and the loader takes the first
//! of a symbol for all (`runner::shared_statics`). So a static keeps its value for later cells, and begins
//! anew with another symbol. What `thread_local!` makes has none: a notebook says so.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ra_ap_syntax::{
    AstNode, SyntaxKind, SyntaxNode,
    ast::{self, HasAttrs, HasName},
};

use super::{reading, words::words};
use crate::runner::STATIC_PREFIX;

/// Attributes by which a static has a symbol or a place of its own already.
const PLACED: [&str; 4] = ["export_name", "link_section", "no_mangle", "thread_local"];

/// The statics of one definition.
#[derive(Clone, Debug)]
pub struct Statics {
    /// By which their symbols differ from those of all others in this process.
    serial: u64,
    /// Where each begins in the definition's text, in their order.
    pub starts: Vec<usize>,
    /// What they are called.
    pub names: Vec<String>,
    /// The names from which their types may follow.
    types: Arc<HashSet<String>>,
    /// Whether a value of any type may be in one.
    takes_any: bool,
}

impl Statics {
    /// Those of a definition, which may be one itself; `None` where there is none to share.
    pub fn of(item: &SyntaxNode) -> Option<Self> {
        let all = item.descendants().filter_map(ast::Static::cast);
        let all: Vec<ast::Static> = all.filter(is_shared).collect();
        if all.is_empty() {
            return None;
        }
        let types: Vec<SyntaxNode> = all
            .iter()
            .filter_map(|item| Some(item.ty()?.syntax().clone()))
            .collect();
        let is_static = ast::Static::can_cast(item.kind());
        // Within another definition a type may go by a name that is known there alone.
        let named = if is_static {
            &types[..]
        } else {
            std::slice::from_ref(item)
        };
        let start = item.text_range().start();
        let starts = all.iter().map(|item| item.syntax().text_range().start());
        Some(Self {
            serial: next_serial(),
            starts: starts.map(|at| usize::from(at - start)).collect(),
            names: all
                .iter()
                .filter_map(|item| Some(item.name()?.text().to_string()))
                .collect(),
            types: Arc::new(named.iter().flat_map(first_names).collect()),
            takes_any: types
                .iter()
                .any(|of| words(&of.text().to_string()).any(|word| word == "Any")),
        })
    }

    /// Whether their types may be other ones when names mean something else than before.
    pub fn follow_from(&self, changed: &HashSet<String>, first: &HashSet<String>) -> bool {
        let is_named = |names| !self.types.is_disjoint(names);
        self.takes_any && !changed.is_empty() || is_named(changed) || is_named(first)
    }

    /// Gives them other symbols.
    pub fn renew(&mut self) {
        self.serial = next_serial();
    }

    /// Whether these are the same statics, not ones of the same names.
    pub fn are(&self, other: &Self) -> bool {
        self.serial == other.serial
    }

    /// What stands before each of them, for the compiler.
    pub fn attributes(&self) -> impl Iterator<Item = (usize, String)> {
        let serial = self.serial;
        let attribute = move |(index, &start): (usize, &usize)| {
            let symbol = format!("{STATIC_PREFIX}{serial}_{index}");
            (start, format!("#[unsafe(export_name = \"{symbol}\")] "))
        };
        self.starts.iter().enumerate().map(attribute)
    }

    /// The definition's text with all of that in it.
    pub fn exported(&self, text: &str) -> String {
        let mut whole = String::new();
        let mut from = 0;
        for (start, attribute) in self.attributes() {
            whole.push_str(&text[from..start]);
            whole.push_str(&attribute);
            from = start;
        }
        whole + &text[from..]
    }
}

/// No two in the life of the kernel, of failed cells either: their libraries may be loaded.
fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn is_shared(item: &ast::Static) -> bool {
    let is_foreign = item
        .syntax()
        .parent()
        .is_some_and(|parent| parent.kind() == SyntaxKind::EXTERN_ITEM_LIST);
    let mut attributes = item
        .attrs()
        .map(|attribute| attribute.syntax().text().to_string());
    !is_foreign && !attributes.any(|text| words(&text).any(|word| PLACED.contains(&word)))
}

/// The first name of each path: what a path means follows from that.
fn first_names(node: &SyntaxNode) -> Vec<String> {
    node.descendants()
        .filter_map(ast::Path::cast)
        .filter(|path| path.qualifier().is_none())
        .filter_map(|path| Some(path.segment()?.name_ref()?.text().to_string()))
        .collect()
}

/// The statics that each thread has for itself, in functions too: with a cell's library they begin anew.
pub fn of_threads(node: &SyntaxNode) -> Vec<String> {
    node.descendants()
        .filter_map(ast::MacroCall::cast)
        .filter_map(|call| reading::thread_local_names(&call))
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::evaluate::direct::{Cell, Item};

    fn item(code: &str) -> Item {
        Cell::parse(code).items.remove(0)
    }

    #[test]
    fn each_static_of_a_definition_has_a_symbol_of_its_own() {
        let code = "fn f() { /// Of one.\n static A: u8 = 1; static mut B: u8 = 2; }";
        let item = item(code);
        let statics = item.statics.as_ref().expect("has some");
        assert_eq!(statics.names, ["A", "B"]);
        let text = statics.exported(&item.text);
        let parts: Vec<&str> = text.split("#[unsafe(export_name = \"").collect();
        assert_eq!(parts.len(), 3, "{text}");
        assert!(
            parts[1].contains("_0\")] /// Of one.") && parts[2].contains("_1\")] static mut B")
        );
        let again = Cell::parse(code).items.remove(0).statics.expect("has some");
        assert!(!statics.are(&again), "defined anew it begins anew");
    }

    #[test]
    fn what_has_a_symbol_already_or_is_no_static_has_none() {
        for code in [
            "#[unsafe(no_mangle)] static A: u8 = 1;",
            "unsafe extern \"C\" { static environ: *const u8; }",
            "fn f() -> &'static str { \"static A: u8 = 1;\" }",
            "const A: u8 = 1;",
        ] {
            assert!(item(code).statics.is_none(), "{code}");
        }
    }

    #[test]
    fn a_type_follows_from_the_first_names_of_its_paths() {
        let follows = |code: &str, name: &str| {
            let statics = item(code).statics.expect("has some");
            statics.follow_from(&HashSet::from([name.to_owned()]), &HashSet::new())
        };
        let log = "static LOG: std::sync::Mutex<Vec<m::Line>> = make(Line);";
        assert!(follows(log, "m") && follows(log, "Vec"));
        assert!(!follows(log, "Mutex") && !follows(log, "Line") && !follows(log, "make"));
        let within = "fn f() { type T = P; static A: Mutex<T> = a(); }";
        assert!(follows(within, "P"));
        assert!(follows(
            "static A: Mutex<Box<dyn std::any::Any>> = a();",
            "P"
        ));
    }

    #[test]
    fn statics_of_threads_are_found_wherever_they_are() {
        let found = |code: &str| Cell::parse(code).thread_locals;
        let local =
            "std::thread_local! { static A: u8 = 1; #[x] pub static B: Cell<u8> = const { f() } }";
        assert_eq!(found(local), ["A", "B"]);
        assert_eq!(
            found("fn f() { thread_local! { static C: u8 = 1; } }"),
            ["C"]
        );
        assert!(found("static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());").is_empty());
    }
}
