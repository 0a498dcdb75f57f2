//! Scopes as Jinja2 has them, where minijinja's compiler makes others: what a macro's body sees of the
//! variables around it, blocks that keep their assignments to themselves, and jumps out of a block.
//! These are the instructions for it; [`super::compile`] puts them in.

use std::{collections::BTreeSet, ops::Range};

use minijinja::machinery::Instruction;

/// What makes the variables that a macro's body reads visible in it, before the macro is built. minijinja's
/// own list lacks those that the body assigns from themselves, namespaces that it only writes, and what
/// it slices.
///
/// Each is stored where the macro is made, too: the closure of a loop's body outlives the turn, and would
/// keep the value of an earlier one.
pub fn enclosed<'a>(
    all: &[&Instruction<'a>],
    body: &Range<usize>,
    arguments: &[String],
) -> Vec<Instruction<'a>> {
    // The call itself or the loop gives these a value.
    let own = ["caller", "varargs", "kwargs", "loop", "self", "super"];
    let names: BTreeSet<&'a str> = all[body.clone()]
        .iter()
        .filter_map(|instruction| match instruction {
            Instruction::Lookup(name) | Instruction::CallFunction(name, _) => Some(*name),
            _ => None,
        })
        .filter(|name| !own.contains(name) && !arguments.iter().any(|argument| argument == name))
        .collect();
    names
        .into_iter()
        .flat_map(|name| {
            [
                Instruction::Lookup(name),
                Instruction::StoreLocal(name),
                Instruction::Enclose(name),
            ]
        })
        .collect()
}

/// The begin or end of a block whose assignments stay in it (`set`, `filter`, `autoescape`), with the
/// scope that minijinja does not make; nothing for another instruction.
pub fn block<'a>(instruction: &Instruction<'a>) -> Option<Vec<Instruction<'a>>> {
    match instruction {
        Instruction::BeginCapture(_) | Instruction::PushAutoEscape => {
            Some(vec![instruction.clone(), Instruction::PushWith])
        }
        Instruction::EndCapture | Instruction::PopAutoEscape => {
            Some(vec![Instruction::PopFrame, instruction.clone()])
        }
        _ => None,
    }
}

/// What ends the blocks that a `break` or `continue` at `at` leaves: minijinja jumps out of them as they
/// are, and then takes the scope of such a block for the loop's.
pub fn left<'a>(all: &[&Instruction<'a>], at: usize) -> Vec<Instruction<'a>> {
    let Instruction::Jump(to) = all[at] else {
        return Vec::new();
    };
    let leaves_turn = matches!(
        all.get(*to as usize),
        Some(Instruction::Iterate(_) | Instruction::PushDidNotIterate | Instruction::PopLoopFrame)
    );
    if !leaves_turn {
        return Vec::new();
    }
    let mut ends = Vec::new();
    let mut opened = 0;
    for instruction in &all[at + 1..] {
        match instruction {
            Instruction::PushWith
            | Instruction::PushLoop(_)
            | Instruction::BeginCapture(_)
            | Instruction::PushAutoEscape => opened += 1,
            Instruction::PopFrame
            | Instruction::PopLoopFrame
            | Instruction::EndCapture
            | Instruction::PopAutoEscape
                if opened > 0 =>
            {
                opened -= 1;
            }
            Instruction::PopFrame => ends.push(Instruction::PopFrame),
            Instruction::EndCapture => {
                ends.extend(block(instruction).into_iter().flatten());
                ends.push(Instruction::DiscardTop);
            }
            Instruction::PopAutoEscape => ends.extend(block(instruction).into_iter().flatten()),
            Instruction::PopLoopFrame => break,
            _ => {}
        }
    }
    ends
}
