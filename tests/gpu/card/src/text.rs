//! Reads the text of kernels (PTX) into functions of statements, and module variables. What a statement does is the
//! matter of `decode`. Source: "PTX ISA 9.0", "Syntax" and "State Spaces, Types, and Variables".

use std::collections::BTreeMap;

/// A file of kernels.
#[derive(Debug, Default)]
pub struct Text {
    /// By name.
    pub kernels: BTreeMap<String, Kernel>,
    /// What lies in `.global`, `.const` and, for all kernels, in `.shared`.
    pub variables: Vec<Variable>,
}

/// A kernel, its body not read yet: a module has many that nobody launches.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// What it takes, in order.
    pub parameters: Vec<Variable>,
    /// Between the braces.
    pub body: String,
    /// The line of the text on which the body starts.
    pub line: usize,
    /// Threads of a block at most, where the text says so.
    pub most_threads: Option<u32>,
}

/// The memory in which a variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Of the card.
    Global,
    /// Of a block.
    Shared,
    /// Of a thread.
    Local,
    /// Arguments of a launch.
    Parameter,
    /// Any of these, by the address.
    Generic,
}

/// A name for bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// As the text has it.
    pub name: String,
    /// Where it lies.
    pub space: Space,
    /// Its address is a multiple.
    pub align: usize,
    /// None where the launch says how many.
    pub bytes: usize,
    /// What it begins with; zeros follow.
    pub initial: Vec<u8>,
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `{`
    Open,
    /// `}`
    Close,
    /// `$L__BB0_1:`
    Label(String),
    /// Anything up to `;`, on a line of the text.
    Line(String, usize),
}

/// Reads a file. Fails on what is no text of kernels.
pub fn read(text: &str) -> Result<Text, String> {
    let text = without_comments(text);
    let mut read = Text::default();
    let mut rest = Rest {
        text: &text,
        line: 1,
    };
    while let Some((head, end)) = rest.until(&['{', ';', '(']) {
        let words: Vec<&str> = head.split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| *word == ".entry") {
            let name = words.get(at + 1).ok_or("a kernel has no name")?;
            let parameters = match end {
                '(' => rest.until(&[')']).ok_or("parameters do not end")?.0,
                _ => "",
            };
            let parameters = parameters.split(',').map(str::trim);
            let parameters = parameters.filter(|parameter| !parameter.is_empty());
            let parameters = parameters.map(variable).collect::<Result<_, _>>()?;
            let between = match end {
                '(' => rest.until(&['{']).ok_or("a kernel has no body")?.0,
                _ => "",
            };
            let line = rest.line;
            let body = rest.body()?.to_owned();
            let kernel = Kernel {
                parameters,
                body,
                line,
                most_threads: most_threads(between),
            };
            read.kernels.insert((*name).to_owned(), kernel);
        } else if words.contains(&".func") {
            // What calls one is unknown to `decode`, but for those that fail an assertion.
            let end = match end {
                '(' => rest.until(&['{', ';']).ok_or("a function does not end")?.1,
                _ => end,
            };
            if end == '{' {
                rest.body()?;
            }
        } else if end == '{' && head.trim_end().ends_with('=') {
            let values = rest.until(&['}']).ok_or("an initial value does not end")?.0;
            rest.until(&[';']);
            let mut variable = variable(head.trim_end().trim_end_matches('='))?;
            variable.initial = initial(&variable, head, values)?;
            read.variables.push(variable);
        } else if ["global", "const", "shared"]
            .iter()
            .any(|space| head.contains(&format!(".{space} ")))
        {
            read.variables.push(variable(head)?);
        } else if !is_header(&words) {
            return Err(format!("unknown in a text of kernels: {}", head.trim()));
        }
    }
    Ok(read)
}

/// Of `.maxntid 256, 1, 1`, what stands between parameters and body.
fn most_threads(text: &str) -> Option<u32> {
    let (_, counts) = text.split_once(".maxntid")?;
    let counts = counts.lines().next()?.split(',');
    counts
        .map(|count| count.trim().parse::<u32>().ok())
        .product()
}

/// `.version`, `.target` and `.address_size` end with their lines, and stand before what is read next.
fn is_header(words: &[&str]) -> bool {
    let headers = [".version", ".target", ".address_size"];
    words.first().is_none_or(|word| headers.contains(word))
}

/// The statements of a body.
pub fn statements(kernel: &Kernel) -> Result<Vec<Statement>, String> {
    let mut found = Vec::new();
    let mut current = String::new();
    let (mut line, mut depth) = (kernel.line, 0);
    for letter in kernel.body.chars() {
        line += usize::from(letter == '\n');
        match letter {
            '{' if current.trim().is_empty() => found.push(Statement::Open),
            '}' if depth == 0 => {
                if !current.trim().is_empty() {
                    return Err(format!("a statement does not end: {current}"));
                }
                found.push(Statement::Close);
            }
            ';' => {
                let whole = current.trim();
                if !whole.is_empty() {
                    found.push(Statement::Line(whole.to_owned(), line));
                }
                current.clear();
            }
            ':' if !current.trim().contains(char::is_whitespace) => {
                found.push(Statement::Label(current.trim().to_owned()));
                current.clear();
            }
            _ => {
                depth += match letter {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                current.push(letter);
            }
        }
    }
    Ok(found)
}

/// A declaration, as `.param .align 8 .b8 name[24]` or `.shared .align 16 .b8 name[512]`.
pub fn variable(text: &str) -> Result<Variable, String> {
    let unknown = || format!("unknown declaration: {}", text.trim());
    let mut words = text.split_whitespace().peekable();
    let mut space = None;
    let (mut align, mut size) = (0, None);
    let mut name = String::new();
    while let Some(word) = words.next() {
        match word {
            // `.ptr` says what a parameter points at.
            ".visible" | ".extern" | ".weak" | ".ptr" => {}
            ".param" => space = Some(Space::Parameter),
            ".shared" => space = Some(Space::Shared),
            ".local" => space = Some(Space::Local),
            ".global" | ".const" => space = Some(Space::Global),
            ".align" => {
                let number = words.next().and_then(|number| number.parse().ok());
                align = number.ok_or_else(unknown)?;
            }
            _ if word.starts_with('.') => size = Some(size_of_type(word).ok_or_else(unknown)?),
            _ => name.push_str(word),
        }
    }
    let (space, size) = (space.ok_or_else(unknown)?, size.ok_or_else(unknown)?);
    let (name, count) = match name.split_once('[') {
        None => (name.clone(), 1),
        Some((name, count)) => {
            let count = count.trim_end_matches(']');
            let count = if count.is_empty() {
                0
            } else {
                count.parse().map_err(|_| unknown())?
            };
            (name.to_owned(), count)
        }
    };
    Ok(Variable {
        name,
        space,
        align: align.max(size),
        bytes: size * count,
        initial: Vec::new(),
    })
}

fn size_of_type(word: &str) -> Option<usize> {
    let bits = word.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    Some(bits.parse::<usize>().ok()? / 8)
}

/// The bytes of `{1, 2, 3}`.
fn initial(variable: &Variable, head: &str, values: &str) -> Result<Vec<u8>, String> {
    let size = head
        .split_whitespace()
        .find_map(|word| word.strip_prefix('.').and_then(|_| size_of_type(word)))
        .unwrap_or(variable.align);
    let mut bytes = Vec::new();
    for value in values.split(',').map(str::trim) {
        let number = value
            .parse::<i128>()
            .map_err(|_| format!("{} begins with {value}, which is no number", variable.name))?;
        bytes.extend_from_slice(&number.to_le_bytes()[..size]);
    }
    Ok(bytes)
}

/// Keeps the lines, so that they can be counted.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        // Headers end with their lines.
        let is_header = [".version", ".target", ".address_size"]
            .iter()
            .any(|word| line.trim_start().starts_with(word));
        kept.push_str(line);
        kept.push_str(if is_header { ";\n" } else { "\n" });
    }
    kept
}

/// What is left to read.
struct Rest<'a> {
    text: &'a str,
    line: usize,
}

impl<'a> Rest<'a> {
    /// Up to the first of these letters, which is passed over.
    fn until(&mut self, ends: &[char]) -> Option<(&'a str, char)> {
        let at = self.text.find(ends)?;
        let end = self.text[at..].chars().next()?;
        let found = &self.text[..at];
        self.pass(at + 1);
        Some((found, end))
    }

    /// Up to the brace that closes what is open.
    fn body(&mut self) -> Result<&'a str, String> {
        let mut depth = 1;
        for (at, letter) in self.text.char_indices() {
            depth += match letter {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            if depth == 0 {
                let body = &self.text[..at];
                self.pass(at + 1);
                return Ok(body);
            }
        }
        Err("a body does not end".to_owned())
    }

    fn pass(&mut self, bytes: usize) {
        self.line += self.text[..bytes].matches('\n').count();
        self.text = &self.text[bytes..];
    }
}
