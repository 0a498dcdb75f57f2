//! Reads the pickle of a `torch.save`d table of tensors without executing anything: a stack machine
//! with the opcodes that torch's pickler writes and a list of the only names it may refer to. All
//! other opcodes and names end in an error that names them. Where a tensor's bytes lie is the
//! archive's matter; the opcodes are those of Python's `pickletools.py`.

use std::{collections::HashMap, rc::Rc};

/// Steps that are run at most; a table of 100,000 tensors takes about three million.
const MOST_STEPS: usize = 8 << 20;
/// Most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// A tensor of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The storage's name in the archive.
    pub storage: Rc<str>,
    /// Name of the storage's class, which tells the type: `FloatStorage`, …
    pub class: &'static str,
    /// Elements in the storage.
    pub storage_values: u64,
    /// First element.
    pub offset: u64,
    /// Shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Elements between neighbours, for each dimension.
    pub strides: Vec<usize>,
}

/// Reads a table of tensors, in its order; what is no tensor is left out. The error says what is wrong.
pub fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let mut machine = Machine {
        rest: bytes,
        ..Machine::default()
    };
    let result = machine.run()?;
    machine.table(&result)
}

/// A value on the stack. Containers lie in the machine's own lists, so that values never nest: no
/// depth of the file's choosing has to be walked, compared or dropped.
#[derive(Clone, Debug)]
enum Value {
    None,
    Bool,
    Integer(i64),
    Float,
    Text(Rc<str>),
    /// Index into [`Machine::sequences`]: a tuple or a list.
    Sequence(usize),
    /// Index into [`Machine::tables`].
    Table(usize),
    Callable(Callable),
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
}

/// The functions that are known; they are imitated, not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// The class of a storage.
    Storage(&'static str),
}

#[derive(Debug)]
struct Storage {
    name: Rc<str>,
    class: &'static str,
    values: u64,
}

/// The classes of storages, by what they are called in `torch`.
const STORAGES: [&str; 10] = [
    "BFloat16Storage",
    "BoolStorage",
    "ByteStorage",
    "CharStorage",
    "DoubleStorage",
    "FloatStorage",
    "HalfStorage",
    "IntStorage",
    "LongStorage",
    "ShortStorage",
];

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    sequences: Vec<Vec<Value>>,
    tables: Vec<Vec<(Value, Value)>>,
}

type Result<T, E = String> = std::result::Result<T, E>;

impl Machine<'_> {
    fn run(&mut self) -> Result<Value> {
        for _ in 0..MOST_STEPS {
            let [opcode] = self.take()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        Err(format!("it takes more than {MOST_STEPS} steps"))
    }

    /// Runs one opcode.
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => self.protocol(),
            // FRAME: a hint for buffering.
            0x95 => self.take::<8>().map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'K' | b'M' | b'J' | 0x8a => self.integer(opcode),
            b'G' => {
                self.take::<8>()?;
                self.push(Value::Float)
            }
            b'X' | 0x8c | 0x8d => self.text(opcode),
            b')' | b']' => self.sequence(Vec::new()),
            0x85..=0x87 => self.short_tuple(usize::from(opcode - 0x84)),
            b't' | b'l' => {
                let items = self.pop_to_mark()?;
                self.sequence(items)
            }
            b'}' | b'd' => self.new_table(opcode),
            b'a' | b'e' => self.append(opcode),
            b's' | b'u' => self.set_items(opcode),
            b'q' | b'r' | 0x94 => self.remember(opcode),
            b'h' | b'j' => self.recall(opcode),
            b'c' | 0x93 => self.global(opcode),
            b'Q' => self.persistent(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            b'0' => self.pop().map(drop),
            other => Err(format!(
                "it uses opcode 0x{other:02x}, which no table of tensors needs"
            )),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err("it ends early".to_owned());
        };
        self.rest = rest;
        Ok(*bytes)
    }

    fn slice(&mut self, length: usize) -> Result<&[u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            return Err("it ends early".to_owned());
        };
        self.rest = rest;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let bytes = self.slice(end.ok_or("it ends early")?)?;
        let line = String::from_utf8_lossy(bytes).into_owned();
        self.take::<1>()?;
        Ok(line)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the end of most steps")]
    fn push(&mut self, value: Value) -> Result<()> {
        self.stack.push(value);
        Ok(())
    }

    /// The value on top; never one below the last mark.
    fn pop(&mut self) -> Result<Value> {
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err("it takes a value that is not there".to_owned());
        }
        self.stack
            .pop()
            .ok_or_else(|| "it takes a value that is not there".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or("it closes what it did not open")?;
        Ok(self.stack.split_off(mark))
    }

    fn sequence(&mut self, items: Vec<Value>) -> Result<()> {
        self.sequences.push(items);
        self.push(Value::Sequence(self.sequences.len() - 1))
    }

    fn protocol(&mut self) -> Result<()> {
        match self.take()? {
            [2..=5] => Ok(()),
            [other] => Err(format!("pickle protocol {other} is not known")),
        }
    }

    fn integer(&mut self, opcode: u8) -> Result<()> {
        let number = match opcode {
            b'K' => i64::from(u8::from_le_bytes(self.take()?)),
            b'M' => i64::from(u16::from_le_bytes(self.take()?)),
            b'J' => i64::from(i32::from_le_bytes(self.take()?)),
            _ => {
                let [length] = self.take()?;
                let bytes = self.slice(length.into())?;
                if bytes.len() > 8 {
                    return Err(format!("it holds a number of {length} bytes"));
                }
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut wide = if negative { [0xff; 8] } else { [0; 8] };
                wide[..bytes.len()].copy_from_slice(bytes);
                i64::from_le_bytes(wide)
            }
        };
        self.push(Value::Integer(number))
    }

    fn text(&mut self, opcode: u8) -> Result<()> {
        let length = match opcode {
            b'X' => u64::from(u32::from_le_bytes(self.take()?)),
            0x8c => u64::from(u8::from_le_bytes(self.take()?)),
            _ => u64::from_le_bytes(self.take()?),
        };
        let bytes = self.slice(usize::try_from(length).unwrap_or(usize::MAX))?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a text is no UTF-8")?;
        let text = Rc::from(text);
        self.push(Value::Text(text))
    }

    fn short_tuple(&mut self, length: usize) -> Result<()> {
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(self.pop()?);
        }
        items.reverse();
        self.sequence(items)
    }

    fn new_table(&mut self, opcode: u8) -> Result<()> {
        let items = if opcode == b'd' {
            pairs(self.pop_to_mark()?)?
        } else {
            Vec::new()
        };
        self.tables.push(items);
        self.push(Value::Table(self.tables.len() - 1))
    }

    fn append(&mut self, opcode: u8) -> Result<()> {
        let items = if opcode == b'a' {
            vec![self.pop()?]
        } else {
            self.pop_to_mark()?
        };
        match self.stack.last() {
            Some(&Value::Sequence(list)) => {
                self.sequences[list].extend(items);
                Ok(())
            }
            _ => Err("it appends to what is no list".to_owned()),
        }
    }

    fn set_items(&mut self, opcode: u8) -> Result<()> {
        let items = if opcode == b's' {
            let value = self.pop()?;
            vec![self.pop()?, value]
        } else {
            self.pop_to_mark()?
        };
        match self.stack.last() {
            Some(&Value::Table(table)) => {
                self.tables[table].extend(pairs(items)?);
                Ok(())
            }
            _ => Err("it sets items of what is no table".to_owned()),
        }
    }

    fn remember(&mut self, opcode: u8) -> Result<()> {
        let key = match opcode {
            b'q' => u32::from(u8::from_le_bytes(self.take()?)),
            b'r' => u32::from_le_bytes(self.take()?),
            _ => self.memo.len() as u32,
        };
        let Some(value) = self.stack.last() else {
            return Err("it remembers a value that is not there".to_owned());
        };
        self.memo.insert(key, value.clone());
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<()> {
        let key = match opcode {
            b'h' => u32::from(u8::from_le_bytes(self.take()?)),
            _ => u32::from_le_bytes(self.take()?),
        };
        match self.memo.get(&key).cloned() {
            Some(value) => self.push(value),
            None => Err(format!("it recalls {key}, which it never remembered")),
        }
    }

    fn global(&mut self, opcode: u8) -> Result<()> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            let (Value::Text(module), Value::Text(name)) = (module, name) else {
                return Err("it names a function by what is no text".to_owned());
            };
            (module.to_string(), name.to_string())
        };
        let storage = STORAGES.iter().find(|known| **known == name);
        let callable = match (module.as_str(), name.as_str(), storage) {
            ("collections", "OrderedDict", _) => Callable::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2", _) => Callable::RebuildTensor,
            ("torch._utils", "_rebuild_parameter", _) => Callable::RebuildParameter,
            ("torch", _, Some(class)) => Callable::Storage(class),
            _ => {
                return Err(format!(
                    "it wants to use `{module}.{name}`, which no table of tensors needs; nothing of \
                     it was executed"
                ));
            }
        };
        self.push(Value::Callable(callable))
    }

    /// The reference to a storage: `("storage", class, name, device, values)`.
    fn persistent(&mut self) -> Result<()> {
        let value = self.pop()?;
        let [
            Value::Text(kind),
            Value::Callable(Callable::Storage(class)),
            Value::Text(name),
            _,
            Value::Integer(values),
        ] = self.items(&value)?
        else {
            return Err("it refers to something that is no storage".to_owned());
        };
        if &**kind != "storage" {
            return Err(format!("it refers to a `{kind}`"));
        }
        let storage = Storage {
            name: Rc::clone(name),
            class,
            values: u64::try_from(*values).map_err(|_| "a storage has a negative size")?,
        };
        self.push(Value::Storage(Rc::new(storage)))
    }

    fn items(&self, value: &Value) -> Result<&[Value]> {
        match value {
            Value::Sequence(index) => Ok(&self.sequences[*index]),
            _ => Err("it has something else where a tuple belongs".to_owned()),
        }
    }

    fn reduce(&mut self) -> Result<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let Value::Callable(callable) = callable else {
            return Err("it calls what is no function".to_owned());
        };
        let result = match (callable, self.items(&arguments)?) {
            (Callable::OrderedDict, []) => {
                self.tables.push(Vec::new());
                Value::Table(self.tables.len() - 1)
            }
            (
                Callable::RebuildTensor,
                [
                    Value::Storage(storage),
                    Value::Integer(offset),
                    shape,
                    strides,
                    ..,
                ],
            ) => {
                let tensor = Tensor {
                    storage: Rc::clone(&storage.name),
                    class: storage.class,
                    storage_values: storage.values,
                    offset: u64::try_from(*offset).map_err(|_| "a tensor has a negative offset")?,
                    shape: self.sizes(shape)?,
                    strides: self.sizes(strides)?,
                };
                if tensor.shape.len() != tensor.strides.len() {
                    return Err("a tensor's shape and strides do not belong together".to_owned());
                }
                Value::Tensor(Rc::new(tensor))
            }
            (Callable::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => tensor.clone(),
            (other, _) => {
                return Err(format!(
                    "it calls {other:?} with what does not belong there"
                ));
            }
        };
        self.push(result)
    }

    fn sizes(&self, value: &Value) -> Result<Vec<usize>> {
        let items = self.items(value)?;
        if items.len() > MOST_DIMENSIONS {
            return Err(format!("a tensor has {} dimensions", items.len()));
        }
        let size = |value: &Value| match value {
            Value::Integer(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        let sizes: Option<Vec<usize>> = items.iter().map(size).collect();
        sizes.ok_or_else(|| "a tensor's shape or strides are no sizes".to_owned())
    }

    /// Sets attributes, which only the table itself has: `_metadata`, versions of its modules.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.stack.last() {
            Some(Value::Table(_)) => Ok(()),
            _ => Err("it sets attributes of what is no table".to_owned()),
        }
    }

    fn table(&self, result: &Value) -> Result<Vec<(String, Tensor)>> {
        let Value::Table(table) = result else {
            return Err("it holds no table of tensors".to_owned());
        };
        let mut tensors = Vec::new();
        for (key, value) in &self.tables[*table] {
            if let (Value::Text(name), Value::Tensor(tensor)) = (key, value) {
                tensors.push((name.to_string(), Tensor::clone(tensor)));
            }
        }
        if tensors.is_empty() {
            return Err("it holds no table of tensors".to_owned());
        }
        Ok(tensors)
    }
}

/// Keys and values, which come one after the other.
fn pairs(items: Vec<Value>) -> Result<Vec<(Value, Value)>> {
    if !items.len().is_multiple_of(2) {
        return Err("a key of a table has no value".to_owned());
    }
    let mut items = items.into_iter();
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    Ok(pairs)
}
