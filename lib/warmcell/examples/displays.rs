//! What a cell shows and asks, in an ordinary program: without a kernel it goes to the terminal. The
//! tests run it with a kernel's socket and read what arrives there.

#![expect(clippy::print_stdout, reason = "an example talks to a terminal")]

use warmcell::{
    cell::display_scope::{ByRef, DebugDisplay},
    prelude::*,
};

/// A type of the user's, without a rich display.
#[derive(Debug)]
#[expect(dead_code, reason = "shown by its Debug form")]
struct Plain {
    answer: u32,
}

/// A type with evcxr's own protocol.
struct Evcxr;

impl Evcxr {
    #[expect(clippy::unused_self, reason = "evcxr's signature")]
    fn evcxr_display(&self) {
        println!("EVCXR_BEGIN_CONTENT text/html\n<b>evcxr</b>\nEVCXR_END_CONTENT");
    }
}

/// A type of the user's with a rich display.
struct Rich;

impl RichDisplay for Rich {
    fn bundle(&self) -> Bundle {
        Bundle::text("rich").with("text/html", "<b>rich</b>")
    }
}

fn main() -> warmcell::Result<()> {
    print!("before ");
    display(Html("<i>html</i>"));
    display("text");
    display(vec![1, 2]);
    display!(Plain { answer: 42 });
    display!(Rich);
    let handle = display_with_id(Markdown("one"));
    handle.update(Markdown("two"));
    clear_output(true);
    println!("{}", input("Name? ")?);
    println!(
        "{}",
        password("Secret? ").unwrap_or_else(|error| error.to_string())
    );
    // What the kernel writes behind the last expression of a cell.
    (Rich).__warmcell_ref().evcxr_display();
    (Evcxr).__warmcell_ref().evcxr_display();
    (Plain { answer: 1 }).__warmcell_ref().evcxr_display();
    ("a\"b").__warmcell_ref().evcxr_display();
    ([1, 2][..]).__warmcell_ref().evcxr_display();
    (&&3).__warmcell_ref().evcxr_display();
    (Some(4)).__warmcell_ref().evcxr_display();
    (Some(Rich)).__warmcell_ref().evcxr_display();
    (Ok::<Rich, String>(Rich)).__warmcell_ref().evcxr_display();
    let borrowed = &Rich;
    (borrowed).__warmcell_ref().evcxr_display();
    (Box::new(Rich) as Box<dyn RichDisplay>)
        .__warmcell_ref()
        .evcxr_display();
    ().__warmcell_ref().evcxr_display();
    Ok(())
}
