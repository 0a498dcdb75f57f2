//! Cards, what is loaded to them and what they run. Calls into the driver are put into words of this project by
//! `unsafe_driver`.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::Write,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    decode::decode,
    lanes::Registers,
    memory::Memory,
    program::Program,
    run::{FaultKind, Launch, run},
    text::{self, Text},
};

/// What a call gives (`CUresult`).
pub type Status = i32;
/// `CUDA_SUCCESS`.
pub const SUCCESS: Status = 0;
/// `CUDA_ERROR_INVALID_VALUE`.
pub const INVALID_VALUE: Status = 1;
/// `CUDA_ERROR_DEVICE_UNAVAILABLE`.
pub const DEVICE_UNAVAILABLE: Status = 46;
/// `CUDA_ERROR_OUT_OF_MEMORY`.
pub const OUT_OF_MEMORY: Status = 2;
/// `CUDA_ERROR_INVALID_DEVICE`.
pub const INVALID_DEVICE: Status = 101;
/// `CUDA_ERROR_INVALID_CONTEXT`.
pub const INVALID_CONTEXT: Status = 201;
/// `CUDA_ERROR_ECC_UNCORRECTABLE`.
pub const ECC_UNCORRECTABLE: Status = 214;
/// `CUDA_ERROR_INVALID_PTX`.
pub const INVALID_PTX: Status = 218;
/// `CUDA_ERROR_INVALID_HANDLE`.
pub const INVALID_HANDLE: Status = 400;
/// `CUDA_ERROR_NOT_FOUND`.
pub const NOT_FOUND: Status = 500;
/// `CUDA_ERROR_ILLEGAL_ADDRESS`.
pub const ILLEGAL_ADDRESS: Status = 700;
/// `CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES`.
pub const LAUNCH_OUT_OF_RESOURCES: Status = 701;
/// `CUDA_ERROR_ASSERT`.
pub const ASSERT: Status = 710;
/// `CUDA_ERROR_MISALIGNED_ADDRESS`.
pub const MISALIGNED_ADDRESS: Status = 716;
/// `CUDA_ERROR_LAUNCH_FAILED`.
pub const LAUNCH_FAILED: Status = 719;

/// Addresses of a card have its number, from one on, above these bits.
const CARD: u32 = 48;
/// Bytes of memory that a block has without asking for more.
const SHARED_BYTES: usize = 48 * 1024;
/// Blocks of a launch at most, by direction.
const MOST_BLOCKS: [u32; 3] = [0x7fff_ffff, 65_535, 65_535];
/// Threads of a block at most.
const MOST_THREADS: u64 = 1024;

/// All of it.
pub struct Machine {
    cards: Vec<Mutex<Card>>,
    modules: Mutex<Vec<Option<Arc<Module>>>>,
    functions: Mutex<Vec<Arc<Function>>>,
    /// Compute capability: major and minor number.
    pub capability: [i32; 2],
    /// Whether nothing is computed.
    pub is_idle: bool,
    /// Whether another program has all cards for itself.
    pub is_taken: bool,
    /// How long each launch takes, while who asked for it goes on.
    launch: Duration,
    log: Option<Mutex<File>>,
}

/// A card.
pub struct Card {
    /// What it has.
    pub memory: Memory,
    /// The error that all calls give once there was one.
    pub broken: Option<Status>,
    launches: u64,
    /// When all is done that was asked for.
    done: Option<Instant>,
    lost_after: Option<u64>,
    allocations: u64,
    /// Which allocations fail.
    full: Range<u64>,
    seed: u64,
}

/// Kernels that were loaded to a card.
pub struct Module {
    card: usize,
    text: Text,
    globals: BTreeMap<String, u64>,
    /// Indices of functions, by name.
    functions: Mutex<BTreeMap<String, usize>>,
}

/// A kernel that can be launched.
pub struct Function {
    card: usize,
    program: Program,
    /// Registers of warps that ran before.
    pool: Mutex<Vec<Registers>>,
}

/// Blocks and threads of a launch, and bytes of a block's memory.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// By direction.
    pub blocks: [u32; 3],
    /// By direction.
    pub threads: [u32; 3],
    /// Beside what the kernel has.
    pub shared_bytes: u32,
}

/// The machine that the environment says.
pub fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let number = |name: &str| {
            env::var(name)
                .ok()
                .and_then(|value| value.parse::<u64>().ok())
        };
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |time| time.as_nanos() as u64);
        let count = number("STANDIN_CARDS").unwrap_or(1) as usize;
        let card = |index: usize| Card {
            memory: Memory::new(
                (index as u64 + 1) << CARD,
                number("STANDIN_CARD_BYTES").unwrap_or(4 << 30),
            ),
            broken: None,
            launches: 0,
            done: None,
            lost_after: number("STANDIN_CARD_LOST_AFTER"),
            allocations: 0,
            full: number("STANDIN_CARD_FULL_AT").map_or(0..0, |first| {
                first..first + number("STANDIN_CARD_FULL_COUNT").unwrap_or(1)
            }),
            seed: number("STANDIN_CARD_SEED").unwrap_or(clock),
        };
        let capability = env::var("STANDIN_CARD_CAPABILITY").unwrap_or_default();
        let capability = capability.split_once('.').unwrap_or(("8", "0"));
        Machine {
            cards: (0..count).map(|index| Mutex::new(card(index))).collect(),
            modules: Mutex::default(),
            functions: Mutex::default(),
            capability: [capability.0, capability.1]
                .map(|number| number.parse().unwrap_or_default()),
            is_idle: number("STANDIN_CARD_IDLE").is_some_and(|number| number != 0),
            is_taken: number("STANDIN_CARD_TAKEN").is_some_and(|number| number != 0),
            launch: Duration::from_micros(number("STANDIN_CARD_LAUNCH_MICROS").unwrap_or(0)),
            log: env::var_os("STANDIN_CARD_LOG")
                .and_then(|path| File::options().append(true).create(true).open(path).ok())
                .map(Mutex::new),
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Card {
    /// Gives bytes, where there are any.
    pub fn take(&mut self, bytes: usize) -> Result<u64, Status> {
        self.allocations += 1;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        if self.full.contains(&self.allocations) {
            return Err(OUT_OF_MEMORY);
        }
        self.memory.take(bytes).ok_or(OUT_OF_MEMORY)
    }
}

impl Machine {
    /// Writes a line of what was asked for, where the environment wants one.
    pub fn log(&self, line: &str) {
        if let Some(log) = &self.log {
            // A log that cannot be written ends nothing.
            let _ = lock(log).write_all(format!("{line}\n").as_bytes());
        }
    }

    /// How many cards there are.
    pub fn count(&self) -> usize {
        self.cards.len()
    }

    /// A card, once nobody else does something on it. Fails as it did before, once it has.
    pub fn card(&self, index: usize) -> Result<MutexGuard<'_, Card>, Status> {
        let card = lock(self.cards.get(index).ok_or(INVALID_DEVICE)?);
        card.broken.map_or(Ok(card), Err)
    }

    /// Waits until all is done that a card was asked for.
    pub fn wait(&self, index: usize) -> Result<(), Status> {
        let done = self.card(index)?.done;
        if let Some(left) = done.and_then(|done| done.checked_duration_since(Instant::now())) {
            thread::sleep(left);
        }
        self.card(index).map(drop)
    }

    /// Gives a card something to do behind all else.
    pub fn occupy(&self, card: &mut Card) {
        if !self.launch.is_zero() {
            let now = Instant::now();
            let begins = card.done.filter(|done| *done > now).unwrap_or(now);
            card.done = begins.checked_add(self.launch);
        }
    }

    /// The card of an address.
    pub fn card_of(&self, address: u64) -> Result<usize, Status> {
        let number = (address >> CARD) as usize;
        (1..=self.count())
            .contains(&number)
            .then(|| number - 1)
            .ok_or(INVALID_VALUE)
    }

    /// Loads kernels to a card: their number.
    pub fn load(&self, card: usize, text: &str) -> Result<usize, Status> {
        let text = text::read(text).map_err(|error| complain(INVALID_PTX, &error))?;
        let mut globals = BTreeMap::new();
        {
            let mut card = self.card(card)?;
            for variable in text
                .variables
                .iter()
                .filter(|variable| variable.space == text::Space::Global)
            {
                let address = card.memory.take(variable.bytes).ok_or(OUT_OF_MEMORY)?;
                let bytes = card
                    .memory
                    .at_mut(address, variable.bytes)
                    .ok_or(INVALID_VALUE)?;
                bytes.fill(0);
                bytes[..variable.initial.len()].copy_from_slice(&variable.initial);
                globals.insert(variable.name.clone(), address);
            }
        }
        let mut modules = lock(&self.modules);
        modules.push(Some(Arc::new(Module {
            card,
            text,
            globals,
            functions: Mutex::default(),
        })));
        Ok(modules.len() - 1)
    }

    /// Takes kernels from a card.
    pub fn unload(&self, module: usize) -> Result<(), Status> {
        let mut modules = lock(&self.modules);
        let module = modules
            .get_mut(module)
            .and_then(Option::take)
            .ok_or(INVALID_HANDLE)?;
        if let Ok(mut card) = self.card(module.card) {
            for address in module.globals.values() {
                card.memory.give_back(*address);
            }
        }
        Ok(())
    }

    /// The number of a kernel of this name.
    pub fn function(&self, module: usize, name: &str) -> Result<usize, Status> {
        let module = lock(&self.modules)
            .get(module)
            .and_then(Clone::clone)
            .ok_or(INVALID_HANDLE)?;
        let mut known = lock(&module.functions);
        if let Some(index) = known.get(name) {
            return Ok(*index);
        }
        let kernel = module
            .text
            .kernels
            .get(name)
            .ok_or_else(|| complain(NOT_FOUND, &format!("no kernel is named `{name}`")))?;
        let program = decode(name, kernel, &module.globals, &module.text.variables)
            .map_err(|error| complain(INVALID_PTX, &error))?;
        let mut functions = lock(&self.functions);
        functions.push(Arc::new(Function {
            card: module.card,
            program,
            pool: Mutex::default(),
        }));
        known.insert(name.to_owned(), functions.len() - 1);
        Ok(functions.len() - 1)
    }

    /// Where a kernel's arguments lie, and how many bytes each is.
    pub fn parameters(&self, function: usize) -> Result<Vec<(usize, usize)>, Status> {
        Ok(self.find(function)?.program.parameters.clone())
    }

    fn find(&self, function: usize) -> Result<Arc<Function>, Status> {
        lock(&self.functions)
            .get(function)
            .cloned()
            .ok_or(INVALID_HANDLE)
    }

    /// Runs a kernel on a card.
    pub fn launch(
        &self,
        card: usize,
        function: usize,
        shape: Shape,
        arguments: &[u8],
    ) -> Result<(), Status> {
        let function = self.find(function)?;
        let program = &function.program;
        if function.card != card {
            return Err(complain(INVALID_HANDLE, "the kernel is another card's"));
        }
        if let Some((status, why)) = refusal(program, shape) {
            let text = format!("{}, {shape:?}: {why}", program.name);
            return Err(complain(status, &text));
        }
        let Shape {
            blocks,
            threads: [across, ..],
            ..
        } = shape;
        self.log(&format!("{} {blocks:?} {across}", program.name));
        let mut card = self.card(card)?;
        card.launches += 1;
        if card.lost_after.is_some_and(|most| card.launches > most) {
            card.broken = Some(ECC_UNCORRECTABLE);
            return Err(ECC_UNCORRECTABLE);
        }
        self.occupy(&mut card);
        if self.is_idle {
            return Ok(());
        }
        let launch = Launch {
            program,
            blocks: shape.blocks,
            threads: shape.threads,
            shared_bytes: shape.shared_bytes as usize,
            arguments,
            seed: card
                .seed
                .wrapping_add(card.launches.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        run(&launch, &mut card.memory, &mut lock(&function.pool)).map_err(|fault| {
            let status = match fault.kind {
                FaultKind::Address => ILLEGAL_ADDRESS,
                FaultKind::Misaligned => MISALIGNED_ADDRESS,
                FaultKind::Assertion => ASSERT,
                FaultKind::Undefined => LAUNCH_FAILED,
            };
            card.broken = Some(status);
            complain(status, &format!("{} (seed {})", fault.text, card.seed))
        })
    }
}

/// Why a card does not launch a kernel so, if it does not.
fn refusal(program: &Program, shape: Shape) -> Option<(Status, &'static str)> {
    let [x, y, z] = shape.threads.map(u64::from);
    let threads = x * y * z;
    let mut counts = shape.blocks.iter().zip(MOST_BLOCKS);
    if threads == 0 || counts.any(|(count, most)| *count == 0 || *count > most) {
        return Some((INVALID_VALUE, "no such launch"));
    }
    if threads > MOST_THREADS || z > 64 {
        return Some((INVALID_VALUE, "too many threads"));
    }
    if program
        .most_threads
        .is_some_and(|most| threads > most.into())
    {
        let why = "more threads than the kernel was compiled for";
        return Some((LAUNCH_OUT_OF_RESOURCES, why));
    }
    let bytes = program.shared_bytes + shape.shared_bytes as usize;
    (bytes > SHARED_BYTES).then_some((INVALID_VALUE, "more memory than a block has"))
}

/// Says what a status alone does not.
#[expect(
    clippy::print_stderr,
    reason = "calls give numbers, and who tries something wants to know why"
)]
pub fn complain(status: Status, why: &str) -> Status {
    eprintln!("stand-in card: {status}: {why}");
    status
}
