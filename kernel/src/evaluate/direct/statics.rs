//! Statics that a cell changes. A cell's items are compiled into the library of each cell that uses them, so
//! that every one of these begins with a static of its own: a notebook says so where the value matters.

use ra_ap_syntax::{
    AstNode, SyntaxNode,
    ast::{self, HasName},
};

use super::{reading, words::words};

/// Types whose values change behind a shared reference.
const CHANGING: [&str; 8] = [
    "Cell",
    "Mutex",
    "Once",
    "OnceCell",
    "OnceLock",
    "RefCell",
    "RwLock",
    "UnsafeCell",
];

/// The statics in here, functions included, whose values change.
pub fn changing(node: &SyntaxNode) -> Vec<String> {
    let statics = node.descendants().filter_map(ast::Static::cast);
    let mut names: Vec<String> = statics
        .filter(changes)
        .filter_map(|item| Some(item.name()?.text().to_string()))
        .collect();
    let calls = node.descendants().filter_map(ast::MacroCall::cast);
    names.extend(
        calls
            .filter_map(|call| reading::thread_local_names(&call))
            .flatten(),
    );
    names
}

fn changes(item: &ast::Static) -> bool {
    let of_type = || {
        let text = item.ty().map(|of| of.syntax().text().to_string());
        let text = text.unwrap_or_default();
        words(&text).any(|word| word.starts_with("Atomic") || CHANGING.contains(&word))
    };
    item.mut_token().is_some() || of_type()
}

#[cfg(test)]
mod tests {
    use crate::evaluate::direct::Cell;

    #[test]
    fn statics_that_change_are_found_wherever_they_are() {
        let found = |code: &str| Cell::parse(code).changing_statics;
        assert_eq!(
            found("static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());"),
            ["LOG"]
        );
        assert_eq!(found("static mut N: i32 = 0; unsafe { N += 1 }"), ["N"]);
        let within = "fn next() -> usize { static COUNT: std::sync::atomic::AtomicUsize = f(); 1 }";
        assert_eq!(found(within), ["COUNT"]);
        let local =
            "std::thread_local! { static A: u8 = 1; #[x] pub static B: Cell<u8> = const { f() } }";
        assert_eq!(found(local), ["A", "B"]);
        for constant in [
            "static NAME: &str = \"Mutex\";",
            "static RE: LazyLock<Regex> = f();",
        ] {
            assert!(found(constant).is_empty(), "{constant}");
        }
    }

    #[test]
    fn a_thread_local_is_a_definition() {
        for code in [
            "thread_local! { static A: u8 = 1; }",
            "thread_local!(static A: u8 = 1);",
            "thread_local! { static A: u8 = 1; }\n1",
        ] {
            let cell = Cell::parse(code);
            assert_eq!(cell.items.len(), 1, "{code}");
            assert!(cell.statements.is_empty(), "{code}");
        }
        assert!(Cell::parse("println!(\"static A\");").items.is_empty());
    }
}
