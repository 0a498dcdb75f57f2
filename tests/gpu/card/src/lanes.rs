//! The registers of a warp, and what instructions make of them that touch nothing else: a closure each, that takes the
//! 32 lanes in one loop. A register is 64 bits a lane; what is narrower fills the low ones, zeros the others.

/// Threads of a warp.
pub const WARP: usize = 32;
/// A register of all of them.
pub type Lanes = [u64; WARP];

/// The registers of a warp. Numbers and words of the text (`7`, `%tid.x`) are registers that nothing writes to.
#[derive(Clone, Debug)]
pub struct Registers(pub Vec<Lanes>);

/// What an instruction does to registers: its result is the first of those named, and only lanes of the mask change.
pub type Work = Box<dyn Fn(&mut Registers, &[u32], u32) + Send + Sync>;

impl Registers {
    /// A register.
    pub fn get(&self, at: u32) -> &Lanes {
        &self.0[at as usize]
    }

    /// Sets the lanes of a mask.
    pub fn put(&mut self, at: u32, values: &Lanes, mask: u32) {
        let place = &mut self.0[at as usize];
        if mask == u32::MAX {
            *place = *values;
            return;
        }
        for (lane, (place, value)) in place.iter_mut().zip(values).enumerate() {
            if mask >> lane & 1 != 0 {
                *place = *value;
            }
        }
    }

    /// The lanes in which a register is not zero.
    pub fn truth(&self, at: u32) -> u32 {
        let lanes = self.get(at).iter().enumerate();
        lanes.fold(0, |mask, (lane, value)| {
            mask | u32::from(*value != 0) << lane
        })
    }
}

/// Of one register another.
pub fn of_one(f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Work {
    Box::new(move |registers, at, mask| {
        let mut made = [0; WARP];
        for (made, a) in made.iter_mut().zip(registers.get(at[1])) {
            *made = f(*a);
        }
        registers.put(at[0], &made, mask);
    })
}

/// Of two registers one.
pub fn of_two(f: impl Fn(u64, u64) -> u64 + Send + Sync + 'static) -> Work {
    Box::new(move |registers, at, mask| {
        let mut made = [0; WARP];
        let (a, b) = (registers.get(at[1]), registers.get(at[2]));
        for lane in 0..WARP {
            made[lane] = f(a[lane], b[lane]);
        }
        registers.put(at[0], &made, mask);
    })
}

/// Of three registers one.
pub fn of_three(f: impl Fn(u64, u64, u64) -> u64 + Send + Sync + 'static) -> Work {
    Box::new(move |registers, at, mask| {
        let mut made = [0; WARP];
        let (a, b, c) = (
            registers.get(at[1]),
            registers.get(at[2]),
            registers.get(at[3]),
        );
        for lane in 0..WARP {
            made[lane] = f(a[lane], b[lane], c[lane]);
        }
        registers.put(at[0], &made, mask);
    })
}

/// Of four registers one.
pub fn of_four(f: impl Fn([u64; 4]) -> u64 + Send + Sync + 'static) -> Work {
    Box::new(move |registers, at, mask| {
        let mut made = [0; WARP];
        for (lane, made) in made.iter_mut().enumerate() {
            *made = f([1, 2, 3, 4].map(|place| registers.get(at[place])[lane]));
        }
        registers.put(at[0], &made, mask);
    })
}

/// Of all but the first register that first, parts from the low end: `mov.b64 %rd1, {%r1, %r2}`.
pub fn packed(bits: u32) -> Work {
    Box::new(move |registers, at, mask| {
        let mut made = [0; WARP];
        for (place, &part) in at[1..].iter().enumerate() {
            let part = registers.get(part);
            for lane in 0..WARP {
                made[lane] |= (part[lane] & ones(bits)) << (bits * place as u32);
            }
        }
        registers.put(at[0], &made, mask);
    })
}

/// Of the last register all others, parts from the low end: `mov.b64 {%r1, %r2}, %rd1`.
pub fn unpacked(bits: u32) -> Work {
    Box::new(move |registers, at, mask| {
        let Some((&whole, parts)) = at.split_last() else {
            return;
        };
        let whole = *registers.get(whole);
        for (place, &part) in parts.iter().enumerate() {
            let made = whole.map(|whole| whole >> (bits * place as u32) & ones(bits));
            registers.put(part, &made, mask);
        }
    })
}

/// So many low bits.
pub fn ones(bits: u32) -> u64 {
    if bits >= 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    }
}
