//! Makes of a kernel's statements what a warp can run: names become registers, places and addresses. An instruction
//! that is not known is refused when it is run, since kernels have ways that nobody takes.

use std::collections::BTreeMap;

use crate::{
    lanes::{Lanes, WARP, Work, of_two, packed, unpacked},
    numbers::Type,
    program::{
        Access, Act, Change, Instruction, LOCAL, PARAMETERS, Program, SHARED, Shuffle, Special,
    },
    text::{self, Kernel, Space, Statement, Variable},
    work::work,
};

/// Decodes a kernel. Variables of its module lie where these addresses say; those of `.shared` have none yet.
pub fn decode(
    name: &str,
    kernel: &Kernel,
    globals: &BTreeMap<String, u64>,
    module: &[Variable],
) -> Result<Program, String> {
    let mut decoder = Decoder::new(name, kernel, globals);
    let statements = text::statements(kernel)?;
    let declared = |statement: &Statement| match statement {
        Statement::Line(line, _) if line.starts_with(".shared") => Some(text::variable(line)),
        _ => None,
    };
    let own = statements.iter().filter_map(declared);
    let mut shared = own.collect::<Result<Vec<_>, _>>()?;
    let of_module = module
        .iter()
        .filter(|variable| variable.space == Space::Shared);
    shared.extend(of_module.cloned());
    // What a launch says the size of lies behind all others.
    shared.sort_by_key(|variable| variable.bytes == 0);
    for variable in &shared {
        decoder.place(variable);
    }
    // Where labels lead, before they are met.
    let mut count = 0;
    for statement in &statements {
        match statement {
            Statement::Label(label) => {
                decoder.labels.insert(label.clone(), count);
            }
            Statement::Line(line, _) if !line.starts_with('.') => count += 1,
            _ => {}
        }
    }
    for statement in statements {
        match statement {
            Statement::Open => decoder.scopes.push(BTreeMap::new()),
            Statement::Close => {
                decoder.scopes.pop();
            }
            Statement::Label(_) => {}
            Statement::Line(line, number) if line.starts_with('.') => decoder
                .declare(&line)
                .map_err(|error| format!("{name}, line {number}: {error}"))?,
            Statement::Line(line, number) => {
                let instruction = decoder.instruction(&line, number);
                decoder.program.code.push(instruction);
            }
        }
    }
    // Falling off the end is an exit.
    let end = decoder.instruction("ret", 0);
    decoder.program.code.push(end);
    Ok(decoder.program)
}

struct Decoder<'a> {
    program: Program,
    scopes: Vec<BTreeMap<String, u32>>,
    /// Registers that hold numbers, by number.
    numbers: BTreeMap<u64, u32>,
    /// Addresses of variables, by name.
    places: BTreeMap<String, u64>,
    globals: &'a BTreeMap<String, u64>,
    labels: BTreeMap<String, usize>,
}

/// An operand.
enum Operand {
    Register(u32),
    Several(Vec<u32>),
    /// A register and bytes behind it.
    Address(u32, i64),
    /// A result, and whether it is one.
    Pair(u32, u32),
}

impl<'a> Decoder<'a> {
    fn new(name: &str, kernel: &Kernel, globals: &'a BTreeMap<String, u64>) -> Self {
        let mut places = BTreeMap::new();
        let mut parameters = Vec::new();
        let mut bytes = 0usize;
        for parameter in &kernel.parameters {
            let at = bytes.next_multiple_of(parameter.align.max(1));
            places.insert(parameter.name.clone(), at as u64);
            parameters.push((at, parameter.bytes));
            bytes = at + parameter.bytes;
        }
        Self {
            program: Program {
                name: name.to_owned(),
                code: Vec::new(),
                registers: Vec::new(),
                specials: Vec::new(),
                shared_bytes: 0,
                local_bytes: 0,
                parameters,
                most_threads: kernel.most_threads,
            },
            scopes: vec![BTreeMap::new()],
            numbers: BTreeMap::new(),
            places,
            globals,
            labels: BTreeMap::new(),
        }
    }

    /// Gives a variable room.
    fn place(&mut self, variable: &Variable) {
        let bytes = match variable.space {
            Space::Local => &mut self.program.local_bytes,
            _ => &mut self.program.shared_bytes,
        };
        let at = bytes.next_multiple_of(variable.align.max(1));
        *bytes = at + variable.bytes;
        self.places.insert(variable.name.clone(), at as u64);
    }

    fn declare(&mut self, line: &str) -> Result<(), String> {
        let Some(rest) = line.strip_prefix(".reg") else {
            if line.starts_with(".local") {
                self.place(&text::variable(line)?);
            } else if line.starts_with(".param") {
                // What a call takes, which none reads here.
                self.places.insert(text::variable(line)?.name, 0);
            }
            // Others say how to compile, or where a line comes from.
            return Ok(());
        };
        let (_, names) = rest
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("registers without a name: {line}"))?;
        for name in names.split(',').map(str::trim) {
            match name.trim_end_matches('>').split_once('<') {
                None => self.name(name.to_owned()),
                Some((name, count)) => {
                    let count: u32 = count
                        .parse()
                        .map_err(|_| format!("unknown count: {line}"))?;
                    for number in 0..count {
                        self.name(format!("{name}{number}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn name(&mut self, name: String) {
        // What no one wrote is no number of any type, and no address.
        let register = self.register([0xfff8_dead_fff8_dead; WARP]);
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, register);
        }
    }

    fn register(&mut self, lanes: Lanes) -> u32 {
        self.program.registers.push(lanes);
        self.program.registers.len() as u32 - 1
    }

    fn number(&mut self, value: u64) -> u32 {
        if let Some(register) = self.numbers.get(&value) {
            return *register;
        }
        let register = self.register([value; WARP]);
        self.numbers.insert(value, register);
        register
    }

    fn instruction(&mut self, line: &str, number: usize) -> Instruction {
        let (guard, rest) = match line
            .strip_prefix('@')
            .and_then(|rest| rest.split_once(char::is_whitespace))
        {
            Some((guard, rest)) => (Some(guard), rest.trim()),
            None => (None, line),
        };
        let guard = guard.map(|guard| (guard.trim_start_matches('!'), guard.starts_with('!')));
        let guard = guard.map(|(name, negated)| (self.value(name), negated));
        let (guard, is_known) = match guard {
            None => (None, true),
            Some((Some(register), negated)) => (Some((register, negated)), true),
            Some((None, _)) => (None, false),
        };
        let found = if is_known { self.act(rest) } else { None };
        let (act, at) = found.unwrap_or((Act::Unknown, Vec::new()));
        Instruction {
            guard,
            act,
            at,
            source: (line.to_owned(), number),
        }
    }

    fn act(&mut self, line: &str) -> Option<(Act, Vec<u32>)> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let words: Vec<&str> = word.split('.').collect();
        match words[0] {
            "bra" => return Some((Act::Branch(*self.labels.get(rest.trim())?), Vec::new())),
            "ret" | "exit" => return Some((Act::Exit, Vec::new())),
            "bar" | "barrier" if words[1..].contains(&"warp") => {
                return Some((Act::WarpBarrier, vec![self.value(rest.trim())?]));
            }
            // One barrier a block, for all its threads.
            "bar" | "barrier" if rest.trim() == "0" && !words.contains(&"red") => {
                return Some((Act::Barrier, Vec::new()));
            }
            "call" if rest.contains("__assertfail") => return Some((Act::Assertion, Vec::new())),
            // Warps of a block take turns, and blocks follow each other.
            "membar" | "fence" => return Some((nothing(), Vec::new())),
            "bar" | "barrier" | "call" => return None,
            _ => {}
        }
        let operands = split(rest);
        let operands: Vec<Operand> = operands
            .iter()
            .map(|operand| self.operand(operand))
            .collect::<Option<_>>()?;
        match words[0] {
            "st" if words.contains(&"param") => Some((nothing(), Vec::new())),
            "ld" | "ldu" => load(&words, &operands),
            "st" => store(&words, &operands),
            "atom" | "red" => self.change(&words, &operands),
            "shfl" => self.shuffle(&words, &operands),
            "vote" if words.contains(&"ballot") => Some((Act::Ballot, registers(&operands)?)),
            "mma" => multiply(&words, &operands),
            "mov" => moved(&words, &operands),
            "cvta" => self.converted_address(&words, &operands),
            _ => Some((Act::Work(work(&words)?), registers(&operands)?)),
        }
    }

    fn operand(&mut self, text: &str) -> Option<Operand> {
        if let Some(inner) = text.strip_prefix('{') {
            let inner = inner.trim_end_matches('}');
            let parts = inner.split(',').map(|part| self.value(part.trim()));
            return Some(Operand::Several(parts.collect::<Option<_>>()?));
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.trim_end_matches(']');
            let (base, offset) = match inner.split_once('+') {
                Some((base, offset)) => (base.trim(), offset.trim().parse().ok()?),
                None => (inner.trim(), 0),
            };
            return Some(Operand::Address(self.value(base)?, offset));
        }
        if let Some((first, second)) = text.split_once('|') {
            return Some(Operand::Pair(self.value(first)?, self.value(second)?));
        }
        Some(Operand::Register(self.value(text)?))
    }

    /// The register of a name or a number.
    fn value(&mut self, text: &str) -> Option<u32> {
        if let Some(register) = self.scopes.iter().rev().find_map(|scope| scope.get(text)) {
            return Some(*register);
        }
        if text == "_" {
            return Some(self.register([0; WARP]));
        }
        if let Some(special) = Special::of(text) {
            let known = self
                .program
                .specials
                .iter()
                .find(|(known, _)| *known == special);
            if let Some((_, register)) = known {
                return Some(*register);
            }
            let register = self.register([0; WARP]);
            self.program.specials.push((special, register));
            return Some(register);
        }
        if let Some(place) = self.places.get(text).or_else(|| self.globals.get(text)) {
            return Some(self.number(*place));
        }
        Some(self.number(number(text)?))
    }

    fn change(&mut self, words: &[&str], operands: &[Operand]) -> Option<(Act, Vec<u32>)> {
        let changes = [
            ("add", Change::Add),
            ("max", Change::Max),
            ("min", Change::Min),
            ("or", Change::Or),
            ("and", Change::And),
            ("exch", Change::Exchange),
            ("cas", Change::CompareExchange),
        ];
        let change = changes.iter().find(|(name, _)| words.contains(name))?.1;
        let (result, operands) = match operands {
            [Operand::Register(result), rest @ ..] if words[0] == "atom" => (*result, rest),
            rest => (self.register([0; WARP]), rest),
        };
        let [Operand::Address(base, offset), rest @ ..] = operands else {
            return None;
        };
        let mut at = vec![result];
        at.extend(registers(rest)?);
        Some((Act::Change(access(words, *base, *offset)?, change), at))
    }

    fn shuffle(&mut self, words: &[&str], operands: &[Operand]) -> Option<(Act, Vec<u32>)> {
        let modes = [
            ("bfly", Shuffle::Butterfly),
            ("up", Shuffle::Up),
            ("down", Shuffle::Down),
            ("idx", Shuffle::Index),
        ];
        let mode = modes.iter().find(|(name, _)| words.contains(name))?.1;
        let (first, rest) = operands.split_first()?;
        let (result, is_one) = match first {
            Operand::Register(result) => (*result, self.register([0; WARP])),
            Operand::Pair(result, is_one) => (*result, *is_one),
            _ => return None,
        };
        let mut at = vec![result, is_one];
        at.extend(registers(rest)?);
        (at.len() == 6).then_some((Act::Shuffle(mode), at))
    }

    /// Addresses of the card are what they are among all.
    fn converted_address(
        &mut self,
        words: &[&str],
        operands: &[Operand],
    ) -> Option<(Act, Vec<u32>)> {
        let start = match space(words) {
            Space::Shared => SHARED,
            Space::Local => LOCAL,
            Space::Parameter => PARAMETERS,
            Space::Global | Space::Generic => 0,
        };
        let mut at = registers(operands)?;
        at.push(self.number(start));
        let work: Work = if words.contains(&"to") {
            of_two(u64::wrapping_sub)
        } else {
            of_two(u64::wrapping_add)
        };
        Some((Act::Work(work), at))
    }
}

/// What changes nothing here.
fn nothing() -> Act {
    Act::Work(Box::new(|_, _, _| {}))
}

/// Operands, at the commas between them.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let parts = parts.iter().map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

/// Bits of a number of the text.
fn number(text: &str) -> Option<u64> {
    let text = text.trim_end_matches('U');
    if let Some(bits) = text.strip_prefix("0f").or_else(|| text.strip_prefix("0F")) {
        return u64::from_str_radix(bits, 16).ok();
    }
    if let Some(bits) = text.strip_prefix("0d").or_else(|| text.strip_prefix("0D")) {
        return u64::from_str_radix(bits, 16).ok();
    }
    if let Some(bits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(bits, 16).ok();
    }
    text.parse::<i128>().ok().map(|number| number as u64)
}

/// All of them, of operands that are registers.
fn registers(operands: &[Operand]) -> Option<Vec<u32>> {
    let one = |operand: &Operand| match operand {
        Operand::Register(register) => Some(*register),
        _ => None,
    };
    operands.iter().map(one).collect()
}

/// The registers of one operand.
fn several(operand: &Operand) -> Option<Vec<u32>> {
    match operand {
        Operand::Register(register) => Some(vec![*register]),
        Operand::Several(registers) => Some(registers.clone()),
        _ => None,
    }
}

fn space(words: &[&str]) -> Space {
    let spaces = [
        ("global", Space::Global),
        ("const", Space::Global),
        ("shared", Space::Shared),
        ("local", Space::Local),
        ("param", Space::Parameter),
    ];
    let found = spaces.iter().find(|(name, _)| words.contains(name));
    found.map_or(Space::Generic, |(_, space)| *space)
}

fn access(words: &[&str], base: u32, offset: i64) -> Option<Access> {
    Some(Access {
        space: space(words),
        kind: Type::of(words.last()?)?,
        base,
        offset,
    })
}

fn load(words: &[&str], operands: &[Operand]) -> Option<(Act, Vec<u32>)> {
    let [to, Operand::Address(base, offset)] = operands else {
        return None;
    };
    Some((Act::Load(access(words, *base, *offset)?), several(to)?))
}

fn store(words: &[&str], operands: &[Operand]) -> Option<(Act, Vec<u32>)> {
    let [Operand::Address(base, offset), from] = operands else {
        return None;
    };
    Some((Act::Store(access(words, *base, *offset)?), several(from)?))
}

fn moved(words: &[&str], operands: &[Operand]) -> Option<(Act, Vec<u32>)> {
    let bits = Type::of(words.last()?)?.bits();
    let [to, from] = operands else {
        return None;
    };
    Some(match (to, from) {
        (Operand::Register(to), Operand::Several(parts)) => {
            let mut at = vec![*to];
            at.extend(parts);
            (Act::Work(packed(bits / parts.len() as u32)), at)
        }
        (Operand::Several(parts), Operand::Register(from)) => {
            let work = unpacked(bits / parts.len() as u32);
            let mut at = parts.clone();
            at.push(*from);
            (Act::Work(work), at)
        }
        _ => (Act::Work(work(words)?), registers(operands)?),
    })
}

/// `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32` and `m16n8k8` of `f16`.
fn multiply(words: &[&str], operands: &[Operand]) -> Option<(Act, Vec<u32>)> {
    let columns = match *words.get(3)? {
        "m16n8k16" => 16,
        "m16n8k8" => 8,
        _ => return None,
    };
    let kinds: Vec<Type> = words[4..]
        .iter()
        .filter_map(|word| Type::of(word))
        .collect();
    let &[
        Type::Float(32),
        kind @ (Type::Float(16) | Type::Brain),
        other,
        Type::Float(32),
    ] = kinds.as_slice()
    else {
        return None;
    };
    let at: Vec<Vec<u32>> = operands.iter().map(several).collect::<Option<_>>()?;
    let counts: Vec<usize> = at.iter().map(Vec::len).collect();
    let expected = [4, columns as usize / 4, columns as usize / 8, 4];
    (kind == other && counts == expected).then(|| (Act::Multiply(kind, columns), at.concat()))
}
