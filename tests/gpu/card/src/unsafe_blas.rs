//! The calls of cuBLAS that candle multiplies matrices by, by the signatures of `cublas_api.h`: sums in doubles, rounded
//! once. Unsafe for what such a library is: callers give addresses of what they own.

#![expect(clippy::many_single_char_names, reason = "as `cublas_api.h` has them")]

use std::ffi::{c_int, c_void};

use half::f16;

use crate::{
    machine::{Status, complain, machine},
    memory::number,
    numbers::{Type, float, rounded},
};

/// `CUBLAS_STATUS_INVALID_VALUE`, `_EXECUTION_FAILED` and `_NOT_SUPPORTED`.
const INVALID_VALUE: Status = 7;
const EXECUTION_FAILED: Status = 13;
const NOT_SUPPORTED: Status = 15;
/// `CUBLAS_COMPUTE_16F`, `_32F` and `_64F`.
const COMPUTE: [c_int; 3] = [64, 68, 70];

/// A matrix for each product, its columns one after the other.
#[derive(Clone, Copy)]
struct Matrix {
    address: u64,
    kind: Type,
    /// Values from one column to the next.
    leading: usize,
    /// And from one matrix to the next.
    stride: i64,
    is_transposed: bool,
}

impl Matrix {
    /// Bytes before one of them.
    fn offset(&self, index: usize) -> i64 {
        self.stride * (index as u64).cast_signed() * i64::from(self.kind.bits() / 8)
    }

    /// Rows and columns, as doubles, row by row.
    fn values(&self, index: usize, (rows, columns): (usize, usize)) -> Result<Vec<f64>, Status> {
        let size = self.kind.bits() as usize / 8;
        let (tall, wide) = if self.is_transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        if self.leading < tall.max(1) {
            return Err(complain(
                INVALID_VALUE,
                "columns are longer than what lies between them",
            ));
        }
        let from = self.address.wrapping_add_signed(self.offset(index));
        let bytes = (self.leading * (wide - 1) + tall) * size;
        let number_of_card = machine().card_of(from)?;
        let card = machine().card(number_of_card)?;
        let bytes = card.memory.at(from, bytes).ok_or_else(|| {
            complain(
                EXECUTION_FAILED,
                &format!("a matrix is nowhere: {}", card.memory.describe(from)),
            )
        })?;
        let at = |row: usize, column: usize| {
            let place = if self.is_transposed {
                row * self.leading + column
            } else {
                column * self.leading + row
            };
            float(self.kind, number(&bytes[place * size..][..size]))
        };
        Ok((0..rows * columns)
            .map(|place| at(place / columns, place % columns))
            .collect())
    }
}

/// `CUDA_R_32F`, `_64F`, `_16F` and `_16BF`.
fn kind(number: c_int) -> Result<Type, Status> {
    match number {
        0 => Ok(Type::Float(32)),
        1 => Ok(Type::Float(64)),
        2 => Ok(Type::Float(16)),
        14 => Ok(Type::Brain),
        _ => Err(complain(
            NOT_SUPPORTED,
            &format!("type {number} is not known"),
        )),
    }
}

/// # Safety
/// The number is there, of the type that a product is computed in.
unsafe fn scale(place: *const c_void, compute: c_int) -> f64 {
    // SAFETY: as the caller says.
    unsafe {
        match compute {
            64 => place.cast::<f16>().read().to_f64(),
            70 => place.cast::<f64>().read(),
            _ => place.cast::<f32>().read().into(),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasCreate_v2(handle: *mut usize) -> Status {
    // SAFETY: the place is the caller's.
    unsafe { handle.write(1) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasDestroy_v2(_handle: usize) -> Status {
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetStream_v2(_handle: usize, _stream: usize) -> Status {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cublasGemmStridedBatchedEx(
    _handle: usize,
    transposed_a: c_int,
    transposed_b: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: u64,
    kind_a: c_int,
    leading_a: c_int,
    stride_a: i64,
    b: u64,
    kind_b: c_int,
    leading_b: c_int,
    stride_b: i64,
    beta: *const c_void,
    c: u64,
    kind_c: c_int,
    leading_c: c_int,
    stride_c: i64,
    count: c_int,
    compute: c_int,
    _algorithm: c_int,
) -> Status {
    if !COMPUTE.contains(&compute) {
        return complain(
            NOT_SUPPORTED,
            &format!("computing by {compute} is not known"),
        );
    }
    // SAFETY: as `cublas_api.h` says.
    let (alpha, beta) = unsafe { (scale(alpha, compute), scale(beta, compute)) };
    let matrix = |address, number, leading: c_int, stride, transposed: c_int| {
        kind(number).map(|kind| Matrix {
            address,
            kind,
            leading: leading as usize,
            stride,
            is_transposed: transposed != 0,
        })
    };
    let run = || {
        let products = Products {
            a: matrix(a, kind_a, leading_a, stride_a, transposed_a)?,
            b: matrix(b, kind_b, leading_b, stride_b, transposed_b)?,
            c: matrix(c, kind_c, leading_c, stride_c, 0)?,
            sizes: [m, n, k, count],
        };
        products.compute(alpha, beta)
    };
    run().err().unwrap_or(0)
}

/// Products of as many matrices.
struct Products {
    a: Matrix,
    b: Matrix,
    c: Matrix,
    /// Rows of the first, columns of the second, what is summed, and how many.
    sizes: [c_int; 4],
}

impl Products {
    fn compute(&self, alpha: f64, beta: f64) -> Result<(), Status> {
        if beta != 0.0 || self.sizes.iter().any(|size| *size <= 0) {
            return Err(complain(
                NOT_SUPPORTED,
                "sums onto what is there, and nothing at all, are not known",
            ));
        }
        let card = machine().card_of(self.c.address)?;
        machine().occupy(&mut *machine().card(card)?);
        if machine().is_idle {
            return Ok(());
        }
        let [m, n, k, count] = self.sizes.map(|size| size as usize);
        for index in 0..count {
            multiply((self.a, self.b, self.c), index, (m, n, k), alpha)?;
        }
        Ok(())
    }
}

/// `c = alpha * a * b`, of matrices `(m, k)`, `(k, n)` and `(m, n)`.
fn multiply(
    (a, b, c): (Matrix, Matrix, Matrix),
    index: usize,
    (m, n, k): (usize, usize, usize),
    alpha: f64,
) -> Result<(), Status> {
    let rows = a.values(index, (m, k))?;
    // Its columns, as rows.
    let b = Matrix {
        is_transposed: !b.is_transposed,
        ..b
    };
    let columns = b.values(index, (n, k))?;
    let size = c.kind.bits() as usize / 8;
    if c.leading < m {
        return Err(complain(
            INVALID_VALUE,
            "columns are longer than what lies between them",
        ));
    }
    let to = c.address.wrapping_add_signed(c.offset(index));
    let number_of_card = machine().card_of(to)?;
    let mut card = machine().card(number_of_card)?;
    let bytes = (c.leading * (n - 1) + m) * size;
    let Some(bytes) = card.memory.at_mut(to, bytes) else {
        return Err(complain(EXECUTION_FAILED, "a result is nowhere"));
    };
    for (column, b) in columns.chunks(k).enumerate() {
        for (row, a) in rows.chunks(k).enumerate() {
            let sum: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            let value = rounded(c.kind, alpha * sum).to_le_bytes();
            bytes[(column * c.leading + row) * size..][..size].copy_from_slice(&value[..size]);
        }
    }
    Ok(())
}
