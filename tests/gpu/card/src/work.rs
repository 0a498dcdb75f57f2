//! What instructions compute that touch registers alone. Words that change a result and are not known here make an
//! instruction unknown, rather than another one. Source: "PTX ISA 9.0", "Instruction Set". What a card approximates
//! (`.approx`) is the nearest number here.

use std::cmp::Ordering;

use crate::{
    lanes::{Work, of_four, of_one, of_three, of_two, ones},
    numbers::{Type, float, fused_down, integer, rounded, signed, whole},
};

/// Words that change nothing here: where there is one rounding it is to the nearest, and no number is too small.
const SILENT: [&str; 7] = ["rn", "ftz", "noftz", "approx", "full", "lo", "sync"];

/// The work of an instruction of these words, as `["fma", "rn", "f32"]`; `None` where it is unknown.
pub fn work(words: &[&str]) -> Option<Work> {
    let (name, words) = words.split_first()?;
    let kinds: Vec<Type> = words.iter().filter_map(|word| Type::of(word)).collect();
    let kind = *kinds.last()?;
    let modes: Vec<&str> = words
        .iter()
        .filter(|word| Type::of(word).is_none() && !SILENT.contains(word))
        .copied()
        .collect();
    if let Some(work) = by_mode(name, &modes, &kinds) {
        return Some(work);
    }
    // Bytes of one operand with a sign, of the other without.
    let is_mixed = *name == "dp4a" && kinds[0] != kind;
    if !modes.is_empty() || is_mixed {
        return None;
    }
    if kind.is_float() {
        of_floats(name, kind)
    } else {
        of_integers(name, kind).or_else(|| of_bits(name, kind))
    }
}

/// Those that a word tells from others of their name.
fn by_mode(name: &str, modes: &[&str], kinds: &[Type]) -> Option<Work> {
    let kind = *kinds.last()?;
    let bits = kind.bits();
    Some(match (name, modes) {
        ("setp", [word]) => comparison(word, kind, 1)?,
        ("set", [word]) => {
            let truth = match kinds[0] {
                to if to.is_float() => rounded(to, 1.0),
                to => ones(to.bits()),
            };
            comparison(word, kind, truth)?
        }
        ("cvt", _) => conversion(modes, kinds)?,
        ("fma", ["rm"]) if kind == Type::Float(32) => of_three(|a, b, c| {
            let [a, b, c] = [a, b, c].map(|bits| f32::from_bits(bits as u32));
            fused_down(a, b, c).to_bits().into()
        }),
        ("min", ["NaN"]) => floats_of_two(kind, |a, b| {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.min(b)
            }
        }),
        ("max", ["NaN"]) => floats_of_two(kind, |a, b| {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.max(b)
            }
        }),
        ("mul", ["hi"]) if matches!(kind, Type::Signed(_)) => {
            of_two(move |a, b| ((integer(kind, a) * integer(kind, b)) >> bits) as u64 & ones(bits))
        }
        ("mul", ["hi"]) if !kind.is_float() => of_two(move |a, b| {
            let [a, b] = [a, b].map(|part| u128::from(part & ones(bits)));
            ((a * b) >> bits) as u64
        }),
        ("mul", ["wide"]) => {
            of_two(move |a, b| (integer(kind, a) * integer(kind, b)) as u64 & ones(2 * bits))
        }
        ("mad", ["wide"]) => of_three(move |a, b, c| {
            ((integer(kind, a) * integer(kind, b)) as u64).wrapping_add(c) & ones(2 * bits)
        }),
        ("bfind", ["shiftamt"]) if kind == Type::Unsigned(32) => of_one(|a| match a as u32 {
            0 => u64::from(u32::MAX),
            a => a.leading_zeros().into(),
        }),
        ("shf", [side, "wrap"]) if bits == 32 => {
            let is_left = *side == "l";
            of_three(move |low, high, count| {
                let both = high << 32 | low & ones(32);
                let count = count & 31;
                if is_left {
                    both << count >> 32 & ones(32)
                } else {
                    both >> count & ones(32)
                }
            })
        }
        _ => return None,
    })
}

fn of_floats(name: &str, kind: Type) -> Option<Work> {
    if kind == Type::Float(32)
        && let Some(work) = of_singles(name)
    {
        return Some(work);
    }
    Some(match name {
        "mov" => of_bits(name, kind)?,
        "selp" => of_integers(name, kind)?,
        "add" => floats_of_two(kind, |a, b| a + b),
        "sub" => floats_of_two(kind, |a, b| a - b),
        "mul" => floats_of_two(kind, |a, b| a * b),
        "div" => floats_of_two(kind, |a, b| a / b),
        "min" => floats_of_two(kind, f64::min),
        "max" => floats_of_two(kind, f64::max),
        "copysign" => floats_of_two(kind, |a, b| b.copysign(a)),
        "neg" => floats_of_one(kind, |a| -a),
        "abs" => floats_of_one(kind, f64::abs),
        "rcp" => floats_of_one(kind, f64::recip),
        "sqrt" => floats_of_one(kind, f64::sqrt),
        "rsqrt" => floats_of_one(kind, |a| a.sqrt().recip()),
        "ex2" => floats_of_one(kind, f64::exp2),
        "lg2" => floats_of_one(kind, f64::log2),
        "sin" => floats_of_one(kind, f64::sin),
        "cos" => floats_of_one(kind, f64::cos),
        "tanh" => floats_of_one(kind, f64::tanh),
        "fma" => match kind.half() {
            Some(half) => of_three(move |a, b, c| {
                [0, 16].iter().fold(0, |both, &shift| {
                    let [a, b, c] = [a, b, c].map(|bits| float(half, bits >> shift));
                    both | rounded(half, a.mul_add(b, c)) << shift
                })
            }),
            None => of_three(move |a, b, c| {
                rounded(kind, float(kind, a).mul_add(float(kind, b), float(kind, c)))
            }),
        },
        _ => return None,
    })
}

/// Those of which kernels have most, without a step over doubles.
fn of_singles(name: &str) -> Option<Work> {
    let two = |f: fn(f32, f32) -> f32| {
        of_two(move |a, b| {
            f(f32::from_bits(a as u32), f32::from_bits(b as u32))
                .to_bits()
                .into()
        })
    };
    Some(match name {
        "add" => of_two(|a, b| {
            (f32::from_bits(a as u32) + f32::from_bits(b as u32))
                .to_bits()
                .into()
        }),
        "sub" => of_two(|a, b| {
            (f32::from_bits(a as u32) - f32::from_bits(b as u32))
                .to_bits()
                .into()
        }),
        "mul" => of_two(|a, b| {
            (f32::from_bits(a as u32) * f32::from_bits(b as u32))
                .to_bits()
                .into()
        }),
        "min" => two(f32::min),
        "max" => two(f32::max),
        "fma" => of_three(|a, b, c| {
            let [a, b, c] = [a, b, c].map(|bits| f32::from_bits(bits as u32));
            a.mul_add(b, c).to_bits().into()
        }),
        _ => return None,
    })
}

fn floats_of_one(kind: Type, f: fn(f64) -> f64) -> Work {
    match kind.half() {
        Some(half) => of_one(move |a| {
            [0, 16].iter().fold(0, |both, &shift| {
                both | rounded(half, f(float(half, a >> shift))) << shift
            })
        }),
        None => of_one(move |a| rounded(kind, f(float(kind, a)))),
    }
}

fn floats_of_two(kind: Type, f: fn(f64, f64) -> f64) -> Work {
    match kind.half() {
        Some(half) => of_two(move |a, b| {
            [0, 16].iter().fold(0, |both, &shift| {
                both | rounded(half, f(float(half, a >> shift), float(half, b >> shift))) << shift
            })
        }),
        None => of_two(move |a, b| rounded(kind, f(float(kind, a), float(kind, b)))),
    }
}

fn of_integers(name: &str, kind: Type) -> Option<Work> {
    let bits = kind.bits();
    let fit = ones(bits);
    let is_signed = matches!(kind, Type::Signed(_));
    Some(match name {
        "add" => of_two(move |a, b| a.wrapping_add(b) & fit),
        "sub" => of_two(move |a, b| a.wrapping_sub(b) & fit),
        "mul" => of_two(move |a, b| a.wrapping_mul(b) & fit),
        "mad" => of_three(move |a, b, c| a.wrapping_mul(b).wrapping_add(c) & fit),
        "neg" => of_one(move |a| a.wrapping_neg() & fit),
        "abs" => of_one(move |a| signed(kind, a).unsigned_abs() & fit),
        "div" if is_signed => of_two(move |a, b| {
            signed(kind, a)
                .checked_div(signed(kind, b))
                .map_or(fit, |made| made as u64 & fit)
        }),
        "rem" if is_signed => of_two(move |a, b| {
            signed(kind, a)
                .checked_rem(signed(kind, b))
                .map_or(fit, |made| made as u64 & fit)
        }),
        "div" => of_two(move |a, b| (a & fit).checked_div(b & fit).unwrap_or(fit)),
        "rem" => of_two(move |a, b| (a & fit).checked_rem(b & fit).unwrap_or(fit)),
        "min" if is_signed => of_two(move |a, b| signed(kind, a).min(signed(kind, b)) as u64 & fit),
        "max" if is_signed => of_two(move |a, b| signed(kind, a).max(signed(kind, b)) as u64 & fit),
        "min" => of_two(move |a, b| (a & fit).min(b & fit)),
        "max" => of_two(move |a, b| (a & fit).max(b & fit)),
        "shl" => of_two(move |a, b| {
            if b & ones(32) >= u64::from(bits) {
                0
            } else {
                a << (b & 63) & fit
            }
        }),
        "shr" if is_signed => of_two(move |a, b| {
            (signed(kind, a) >> (b & ones(32)).min(u64::from(bits) - 1)) as u64 & fit
        }),
        "shr" => of_two(move |a, b| {
            if b & ones(32) >= u64::from(bits) {
                0
            } else {
                (a & fit) >> (b & 63)
            }
        }),
        "selp" => of_three(move |a, b, truth| if truth != 0 { a & fit } else { b & fit }),
        "dp4a" => {
            let part = if is_signed {
                Type::Signed(8)
            } else {
                Type::Unsigned(8)
            };
            of_three(move |a, b, c| {
                let products = [0, 8, 16, 24]
                    .map(|shift| integer(part, a >> shift) * integer(part, b >> shift));
                (products.iter().sum::<i128>() as u64).wrapping_add(c) & fit
            })
        }
        "bfe" => of_three(move |a, place, count| {
            let (place, count) = ((place & 255) as u32, (count & 255) as u32);
            let found = if place >= bits {
                0
            } else {
                (a & fit) >> place & ones(count)
            };
            let last = (place + count).saturating_sub(1).min(bits - 1);
            let is_negative = is_signed && count > 0 && a >> last & 1 != 0;
            let taken = ones(count.min(bits.saturating_sub(place)));
            (if is_negative { found | !taken } else { found }) & fit
        }),
        _ => return None,
    })
}

fn of_bits(name: &str, kind: Type) -> Option<Work> {
    let bits = kind.bits();
    let fit = ones(bits);
    Some(match name {
        "mov" | "cvta" => of_one(move |a| a & fit),
        "and" => of_two(move |a, b| a & b & fit),
        "or" => of_two(move |a, b| (a | b) & fit),
        "xor" => of_two(move |a, b| (a ^ b) & fit),
        "not" => of_one(move |a| !a & fit),
        "popc" => of_one(move |a| (a & fit).count_ones().into()),
        "clz" => of_one(move |a| u64::from((a & fit).leading_zeros() + bits - 64)),
        "brev" => of_one(move |a| (a & fit).reverse_bits() >> (64 - bits)),
        "prmt" => of_three(|a, b, selector| {
            let both = b << 32 | a & ones(32);
            (0..4).fold(0, |made, place| {
                let choice = selector >> (4 * place);
                let byte = both >> (8 * (choice & 7)) & 255;
                // The highest bit of a choice asks for eight of the byte's.
                let byte = if choice & 8 == 0 {
                    byte
                } else {
                    (byte >> 7) * 255
                };
                made | byte << (8 * place)
            })
        }),
        "bfi" => of_four(move |[a, b, place, count]| {
            let (place, count) = ((place & 255) as u32, (count & 255) as u32);
            let taken = if place >= bits {
                0
            } else {
                ones(count) << place & fit
            };
            (b & !taken | if place >= bits { 0 } else { a << place } & taken) & fit
        }),
        "lop3" => of_four(|[a, b, c, table]| {
            (0..32).fold(0, |made, bit| {
                let row = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | c >> bit & 1;
                made | (table >> row & 1) << bit
            })
        }),
        _ => return None,
    })
}

/// A comparison, that gives `truth` where it holds and 0 elsewhere.
fn comparison(word: &str, kind: Type, truth: u64) -> Option<Work> {
    if kind.is_float() {
        if kind.half().is_some() {
            return None;
        }
        if kind == Type::Float(32) {
            return compared(word, truth, |bits| f32::from_bits(bits as u32));
        }
        return compared(word, truth, move |bits| float(kind, bits));
    }
    let fit = ones(kind.bits());
    match kind {
        Type::Signed(_) => compared(word, truth, move |bits| signed(kind, bits)),
        _ => compared(word, truth, move |bits| bits & fit),
    }
}

fn compared<T: PartialOrd>(
    word: &str,
    truth: u64,
    of: impl Fn(u64) -> T + Copy + Send + Sync + 'static,
) -> Option<Work> {
    // Of numbers that do not compare none is smaller: `ne` of floats is false there, and `neu` true.
    let holds: fn(Option<Ordering>) -> bool = match word {
        "eq" => |order| order == Some(Ordering::Equal),
        "ne" => |order| order.is_some_and(Ordering::is_ne),
        "lt" | "lo" => |order| order == Some(Ordering::Less),
        "le" | "ls" => |order| order.is_some_and(Ordering::is_le),
        "gt" | "hi" => |order| order == Some(Ordering::Greater),
        "ge" | "hs" => |order| order.is_some_and(Ordering::is_ge),
        "equ" => |order| order.is_none_or(Ordering::is_eq),
        "neu" => |order| order != Some(Ordering::Equal),
        "ltu" => |order| order.is_none_or(Ordering::is_lt),
        "leu" => |order| order.is_none_or(Ordering::is_le),
        "gtu" => |order| order.is_none_or(Ordering::is_gt),
        "geu" => |order| order.is_none_or(Ordering::is_ge),
        "num" => |order| order.is_some(),
        "nan" => |order| order.is_none(),
        _ => return None,
    };
    Some(of_two(move |a, b| {
        let is_so = holds(of(a).partial_cmp(&of(b)));
        if is_so { truth } else { 0 }
    }))
}

/// `cvt` to the first type, from the last.
fn conversion(modes: &[&str], kinds: &[Type]) -> Option<Work> {
    let &[to, from] = kinds else {
        return None;
    };
    if let Some(half) = to.half() {
        return (modes.is_empty() && from == Type::Float(32)).then(|| {
            of_two(move |high, low| {
                rounded(half, float(from, high)) << 16 | rounded(half, float(from, low))
            })
        });
    }
    let is_saturated = modes.contains(&"sat");
    let steps: Vec<&str> = modes
        .iter()
        .filter(|mode| **mode != "sat")
        .copied()
        .collect();
    let step = match steps.as_slice() {
        [] => None,
        [word] if from.is_float() => Some(whole(word)?),
        _ => return None,
    };
    match (to.is_float(), from.is_float()) {
        (false, false) if !is_saturated => {
            let fit = ones(to.bits());
            Some(of_one(move |a| integer(from, a) as u64 & fit))
        }
        (false, true) => Some(to_integer((to, from), step?)),
        (true, _) => Some(to_float((to, from), step, is_saturated)),
        _ => None,
    }
}

/// To the nearest that there is.
fn to_integer((to, from): (Type, Type), step: fn(f64) -> f64) -> Work {
    let fit = ones(to.bits());
    of_one(move |a| {
        let value = step(float(from, a));
        match to {
            Type::Signed(bits) => {
                let most = ones(bits - 1).cast_signed();
                (value as i64).clamp(-most - 1, most) as u64 & fit
            }
            _ => (value as u64).min(fit),
        }
    })
}

fn to_float((to, from): (Type, Type), step: Option<fn(f64) -> f64>, is_saturated: bool) -> Work {
    if (to, from, step.is_none(), is_saturated) == (Type::Float(32), Type::Float(16), true, false) {
        return of_one(|a| half::f16::from_bits(a as u16).to_f32().to_bits().into());
    }
    of_one(move |a| {
        let value = float(from, a);
        let value = step.map_or(value, |step| step(value));
        let value = match is_saturated {
            true if value.is_nan() => 0.0,
            true => value.clamp(0.0, 1.0),
            false => value,
        };
        // Of 64 bits not all are exact in doubles.
        match from {
            Type::Signed(64) if to == Type::Float(32) => (a.cast_signed() as f32).to_bits().into(),
            Type::Unsigned(64) if to == Type::Float(32) => (a as f32).to_bits().into(),
            _ => rounded(to, value),
        }
    })
}
