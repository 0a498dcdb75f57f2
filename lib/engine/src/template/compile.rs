//! From a template's text to instructions that compute as Python does. minijinja parses and runs; where
//! its operators differ from Python's, their instructions are exchanged here for calls of ours
//! ([`super::operators`]), so that a template needs no rewriting and errors keep their places.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use minijinja::{
    Error, Value,
    machinery::{CodeGenerator, Instruction, Instructions, parse},
    syntax::SyntaxConfig,
};

use super::{depth, operators, scopes, tags, values};

/// What runs: the template's own instructions, and those of its blocks.
pub struct Program<'a> {
    pub main: Instructions<'a>,
    pub blocks: BTreeMap<&'a str, Instructions<'a>>,
}

/// The text as Jinja2's lexer sees it, with every line break as `\n`, and as minijinja's is to see it.
pub fn normalise(source: &str) -> (tags::Spelled, String) {
    let lines: Cow<str> = if source.contains('\r') {
        source.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        source.into()
    };
    (tags::respelled(&lines), lines.into_owned())
}

/// Compiles the text for minijinja that [`normalise`] gave.
pub fn compile(source: &str) -> Result<Program<'_>, Error> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    depth::check(source, &syntax)?;
    let tree = parse(source, "chat_template", syntax)?;
    let mut generator = CodeGenerator::new("chat_template", source);
    generator.compile_stmt(&tree);
    let (main, blocks) = generator.finish();
    Ok(Program {
        main: with_python(&main),
        blocks: blocks
            .iter()
            .map(|(name, block)| (*name, with_python(block)))
            .collect(),
    })
}

/// Exchanges operators, and moves the targets of jumps accordingly.
fn with_python<'a>(old: &Instructions<'a>) -> Instructions<'a> {
    let all: Vec<&Instruction<'a>> = (0..).map_while(|at| old.get(at)).collect();
    let macros = macros(&all);
    let replaced: Vec<Vec<Instruction<'a>>> = (0..all.len())
        .map(|at| replacement(&all, at, &macros))
        .collect();
    let mut starts = Vec::with_capacity(all.len() + 1);
    let mut next = 0;
    for instructions in &replaced {
        starts.push(next);
        next += instructions.len() as u32;
    }
    starts.push(next);
    let moved = |target: u32| starts.get(target as usize).copied().unwrap_or(target);
    let mut new = Instructions::new(old.name(), old.source());
    for (at, instructions) in replaced.into_iter().enumerate() {
        for instruction in instructions {
            let instruction = with_target(instruction, moved);
            match (old.get_span(at as u32), old.get_line(at as u32)) {
                (Some(span), _) => new.add_with_span(instruction, span),
                (None, Some(line)) => new.add_with_line(instruction, line as u16),
                (None, None) => new.add(instruction),
            };
        }
    }
    new
}

fn with_target(instruction: Instruction<'_>, moved: impl Fn(u32) -> u32) -> Instruction<'_> {
    match instruction {
        Instruction::Iterate(to) => Instruction::Iterate(moved(to)),
        Instruction::Jump(to) => Instruction::Jump(moved(to)),
        Instruction::JumpIfFalse(to) => Instruction::JumpIfFalse(moved(to)),
        Instruction::JumpIfFalseOrPop(to) => Instruction::JumpIfFalseOrPop(moved(to)),
        Instruction::JumpIfTrueOrPop(to) => Instruction::JumpIfTrueOrPop(moved(to)),
        Instruction::BuildMacro(name, to, flags) => Instruction::BuildMacro(name, moved(to), flags),
        other => other,
    }
}

/// What stands in for the instruction at `at`.
fn replacement<'a>(
    all: &[&Instruction<'a>],
    at: usize,
    macros: &[Macro<'a>],
) -> Vec<Instruction<'a>> {
    let call = |name, count| Instruction::CallFunction(name, Some(count));
    let instruction = all[at].clone();
    let mut new = match &instruction {
        Instruction::Add => vec![
            call(operators::ADD, 2),
            Instruction::UnpackList(2),
            instruction,
        ],
        Instruction::StringConcat => vec![call(operators::CONCAT, 2)],
        Instruction::Rem => vec![call(operators::REMAINDER, 2)],
        Instruction::Lt => vec![call(operators::LESS, 2)],
        Instruction::Lte => vec![call(operators::LESS_EQUAL, 2)],
        Instruction::Gt => vec![call(operators::GREATER, 2)],
        Instruction::Gte => vec![call(operators::GREATER_EQUAL, 2)],
        Instruction::Eq => vec![call(operators::EQUAL, 2)],
        Instruction::Ne => vec![call(operators::NOT_EQUAL, 2)],
        Instruction::In => vec![call(operators::IN, 2)],
        // minijinja does not export the type of the comparison, whose `Debug` form is its name.
        Instruction::CompareAndPreserve(comparison) => {
            let names = ["Lt", "Lte", "Gt", "Gte", "In", "NotIn"];
            let at = names
                .iter()
                .position(|name| *name == format!("{comparison:?}"));
            match at {
                Some(at) => vec![call(operators::CHAINED[at], 2), Instruction::UnpackList(2)],
                None => vec![instruction],
            }
        }
        // The turns of a loop give parts of a value that was looked at.
        Instruction::StoreLocal(_) if !follows_iteration(all, at) => {
            vec![call(values::STORE, 1), instruction]
        }
        Instruction::SetAttr(_) => vec![
            call(values::STORE_ATTRIBUTE, 2),
            Instruction::UnpackList(2),
            instruction,
        ],
        Instruction::PushLoop(_) => vec![call(operators::ITERATE, 1), instruction],
        Instruction::GetAttr(name) if operators::is_dict_method(name) => vec![
            Instruction::LoadConst(Value::from(*name)),
            call(operators::ATTRIBUTE, 2),
        ],
        Instruction::GetItem if is_method_name(all, at) => vec![call(operators::SUBSCRIPT, 2)],
        Instruction::LoadConst(names)
            if macros
                .iter()
                .any(|found| found.names == at && found.wrapper.is_some()) =>
        {
            let own = names.try_iter().into_iter().flatten();
            let extended = own.chain(["varargs", "kwargs"].map(Value::from));
            vec![Instruction::LoadConst(extended.collect::<Vec<_>>().into())]
        }
        // A turn that ends within blocks ends these first.
        Instruction::Jump(_) => {
            let mut new = scopes::left(all, at);
            new.push(instruction);
            new
        }
        _ => match macros.iter().find(|found| found.names + 1 == at) {
            Some(Macro {
                wrapper: Some(name),
                ..
            }) => vec![instruction, call(name, 1)],
            _ => scopes::block(&instruction).unwrap_or_else(|| vec![instruction]),
        },
    };
    for found in macros {
        if found.body.start == at {
            new.splice(0..0, found.prologue());
        } else if found.body.end == at {
            new.splice(0..0, scopes::enclosed(all, &found.body, &found.arguments));
        }
    }
    new
}

/// Whether what is stored is an item of a loop.
fn follows_iteration(all: &[&Instruction<'_>], at: usize) -> bool {
    at.checked_sub(1)
        .is_some_and(|before| matches!(all[before], Instruction::Iterate(_)))
}

/// Whether a subscript is a text that names a dictionary's method.
fn is_method_name(all: &[&Instruction<'_>], at: usize) -> bool {
    match at.checked_sub(1).map(|before| all[before]) {
        Some(Instruction::LoadConst(key)) => key.as_str().is_some_and(operators::is_dict_method),
        _ => false,
    }
}

/// A macro whose call needs more than minijinja does.
struct Macro<'a> {
    /// The constant with the names of its arguments.
    names: usize,
    /// Those names.
    arguments: Vec<String>,
    body: Range<usize>,
    /// Its arguments, if one has a default, from the last to the first.
    defaulted: Vec<&'a str>,
    /// What wraps it, if it reads `varargs` or `kwargs`.
    wrapper: Option<&'static str>,
}

impl<'a> Macro<'a> {
    /// What comes before the body. Arguments come off the stack from the last to the first, and so do
    /// their defaults; those may name an earlier argument, which therefore is stored before them all.
    fn prologue(&self) -> Vec<Instruction<'a>> {
        let rest = if self.wrapper.is_some() {
            &["kwargs", "varargs"][..]
        } else {
            &[]
        };
        let rest = rest.iter().map(|name| Instruction::StoreLocal(name));
        let store = self
            .defaulted
            .iter()
            .map(|name| Instruction::StoreLocal(name));
        let load = self
            .defaulted
            .iter()
            .rev()
            .map(|name| Instruction::Lookup(name));
        rest.chain(store).chain(load).collect()
    }
}

fn macros<'a>(all: &[&Instruction<'a>]) -> Vec<Macro<'a>> {
    let mut found = Vec::new();
    for (at, instruction) in all.iter().enumerate() {
        let Instruction::BuildMacro(_, start, _) = instruction else {
            continue;
        };
        let start = *start as usize;
        let (Some(Instruction::Jump(end)), Some(Instruction::LoadConst(names))) = (
            start.checked_sub(1).map(|before| all[before]),
            at.checked_sub(1).map(|before| all[before]),
        ) else {
            continue;
        };
        let body = start..*end as usize;
        let reads = |wanted: &str| {
            let mut body = all[body.clone()].iter();
            body.any(
                |instruction| matches!(instruction, Instruction::Lookup(name) if *name == wanted),
            )
        };
        let wrapper = match (reads("varargs"), reads("kwargs")) {
            (false, false) => None,
            (true, false) => Some(operators::VARIADIC[0]),
            (false, true) => Some(operators::VARIADIC[1]),
            (true, true) => Some(operators::VARIADIC[2]),
        };
        found.push(Macro {
            names: at - 1,
            defaulted: defaulted(all, start, names.len().unwrap_or(0)),
            arguments: names
                .try_iter()
                .into_iter()
                .flatten()
                .map(|name| name.to_string())
                .collect(),
            body,
            wrapper,
        });
    }
    found
}

/// The names of a macro's arguments from the last to the first; none where no argument has a default.
fn defaulted<'a>(all: &[&Instruction<'a>], start: usize, count: usize) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut has_default = false;
    let mut at = start;
    for _ in 0..count {
        if let (Instruction::DupTop, Some(Instruction::JumpIfFalse(end))) =
            (all[at], all.get(at + 2))
        {
            has_default = true;
            at = *end as usize;
        }
        let Some(Instruction::StoreLocal(name)) = all.get(at) else {
            return Vec::new();
        };
        names.push(*name);
        at += 1;
    }
    if has_default { names } else { Vec::new() }
}
