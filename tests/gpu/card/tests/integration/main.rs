//! What the stand-in makes of small kernels, as the PTX ISA has it, and of those that a card leaves undefined.

use std::collections::BTreeMap;

use standin_card::{
    decode::decode,
    memory::Memory,
    run::{Fault, FaultKind, Launch, run},
    text,
};

/// Where memory starts.
const FIRST: u64 = 1 << 48;

/// A kernel of one parameter, the address of what it writes.
fn kernel(declarations: &str, body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\n.visible .entry tried(\n\t.param .u64 tried_param_0\n)\n{{\n\
         \t.reg .pred %p<9>;\n\t.reg .b16 %h<9>;\n\t.reg .b32 %r<40>;\n\t.reg .f32 %f<40>;\n\t.reg .b64 %rd<9>;\n\
         {declarations}\n\tld.param.u64 %rd1, [tried_param_0];\n\tcvta.to.global.u64 %rd1, %rd1;\n\
         \tmov.u32 %r1, %tid.x;\n\tmul.wide.u32 %rd2, %r1, 4;\n\tadd.s64 %rd2, %rd1, %rd2;\n{body}\n\tret;\n}}\n"
    )
}

/// What threads of one block write, a word each.
fn words(declarations: &str, body: &str, threads: u32) -> Result<Vec<u32>, Fault> {
    let mut memory = Memory::new(FIRST, 1 << 20);
    let address = memory
        .take(4 * threads as usize)
        .expect("a megabyte is free");
    launch((declarations, body), threads, address, &mut memory)?;
    let bytes = memory
        .at(address, 4 * threads as usize)
        .expect("they were taken");
    let words = bytes
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
    Ok(words.collect())
}

fn launch(
    (declarations, body): (&str, &str),
    threads: u32,
    address: u64,
    memory: &mut Memory,
) -> Result<(), Fault> {
    let text = text::read(&kernel(declarations, body)).expect("a kernel");
    let program = decode("tried", &text.kernels["tried"], &BTreeMap::new(), &[]).expect("a kernel");
    let launch = Launch {
        program: &program,
        blocks: [1; 3],
        threads: [threads, 1, 1],
        shared_bytes: 0,
        arguments: &address.to_le_bytes(),
        seed: 7,
    };
    run(&launch, memory, &mut Vec::new())
}

/// What an instruction gives, of registers `%r2`, `%r3`, `%r4` and `%r5`.
fn made(instruction: &str, [a, b, c, d]: [u32; 4]) -> u32 {
    let body = format!(
        "mov.u32 %r2, {a};\nmov.u32 %r3, {b};\nmov.u32 %r4, {c};\nmov.u32 %r5, {d};\n{instruction}\nst.global.u32 [%rd2], %r6;"
    );
    words("", &body, 1).expect("it runs")[0]
}

fn bits(value: f32) -> u32 {
    value.to_bits()
}

#[test]
fn integers() {
    let cases = [
        ("add.s32 %r6, %r2, %r3;", [u32::MAX, 3, 0, 0], 2),
        ("mul.hi.u32 %r6, %r2, %r3;", [1 << 31, 6, 0, 0], 3),
        (
            "mad.lo.s32 %r6, %r2, %r3, %r4;",
            [5, u32::MAX, 2, 0],
            u32::MAX - 2,
        ),
        (
            "div.s32 %r6, %r2, %r3;",
            [(-7i32) as u32, 2, 0, 0],
            (-3i32) as u32,
        ),
        ("rem.u32 %r6, %r2, %r3;", [23, 7, 0, 0], 2),
        ("shr.s32 %r6, %r2, %r3;", [1 << 31, 40, 0, 0], u32::MAX),
        ("shl.b32 %r6, %r2, %r3;", [1, 32, 0, 0], 0),
        ("min.s32 %r6, %r2, %r3;", [u32::MAX, 1, 0, 0], u32::MAX),
        ("min.u32 %r6, %r2, %r3;", [u32::MAX, 1, 0, 0], 1),
        ("bfe.u32 %r6, %r2, %r3, %r4;", [0xabcd, 4, 8, 0], 0xbc),
        ("bfe.s32 %r6, %r2, %r3, %r4;", [0xf0, 4, 4, 0], u32::MAX),
        ("bfe.s32 %r6, %r2, %r3, %r4;", [1 << 31, 31, 4, 0], u32::MAX),
        ("bfi.b32 %r6, %r2, %r3, %r4, %r5;", [0xff, 0, 8, 4], 0xf00),
        (
            "prmt.b32 %r6, %r2, %r3, %r4;",
            [0x3322_1100, 0x7766_5544, 0x0b71, 0],
            0x0000_7711,
        ),
        (
            "prmt.b32 %r6, %r2, %r3, %r4;",
            [0x8000_0000, 0, 0xb000, 0],
            0xff00_0000,
        ),
        (
            "lop3.b32 %r6, %r2, %r3, %r4, 0x96;",
            [0b1100, 0b1010, 0b0110, 0],
            0,
        ),
        (
            "lop3.b32 %r6, %r2, %r3, %r4, 0xe8;",
            [0b1100, 0b1010, 0b0110, 0],
            0b1110,
        ),
        (
            "shf.l.wrap.b32 %r6, %r2, %r3, %r4;",
            [0x8000_0000, 1, 1, 0],
            3,
        ),
        (
            "dp4a.s32.s32 %r6, %r2, %r3, %r4;",
            [0xff01_0203, 0x0101_0101, 10, 0],
            15,
        ),
        ("popc.b32 %r6, %r2;", [0xf0f0, 0, 0, 0], 8),
        ("clz.b32 %r6, %r2;", [1, 0, 0, 0], 31),
        ("brev.b32 %r6, %r2;", [1, 0, 0, 0], 1 << 31),
        ("bfind.shiftamt.u32 %r6, %r2;", [0x100, 0, 0, 0], 23),
    ];
    for (instruction, operands, expected) in cases {
        assert_eq!(
            made(instruction, operands),
            expected,
            "{instruction} {operands:?}"
        );
    }
}

#[test]
fn floats() {
    let nan = f32::NAN;
    let cases = [
        (
            "fma.rn.f32 %r6, %r2, %r3, %r4;",
            [
                bits(1.0 + f32::EPSILON),
                bits(1.0 - f32::EPSILON),
                bits(-1.0),
                0,
            ],
            bits(-f32::EPSILON * f32::EPSILON),
        ),
        // As `expf` rounds down to an integer and half of one.
        (
            "fma.rm.f32 %r6, %r2, %r3, %r4;",
            [bits(1.999), bits(1.0), bits(12_582_912.0), 0],
            bits(12_582_913.0),
        ),
        (
            "max.f32 %r6, %r2, %r3;",
            [bits(nan), bits(1.0), 0, 0],
            bits(1.0),
        ),
        (
            "copysign.f32 %r6, %r2, %r3;",
            [bits(-1.0), bits(3.0), 0, 0],
            bits(-3.0),
        ),
        ("cvt.rni.f32.f32 %r6, %r2;", [bits(2.5), 0, 0, 0], bits(2.0)),
        (
            "cvt.rzi.s32.f32 %r6, %r2;",
            [bits(-2.9), 0, 0, 0],
            (-2i32) as u32,
        ),
        ("cvt.rzi.u32.f32 %r6, %r2;", [bits(-2.9), 0, 0, 0], 0),
        ("cvt.sat.f32.f32 %r6, %r2;", [bits(nan), 0, 0, 0], 0),
        (
            "cvt.rn.f32.s32 %r6, %r2;",
            [(-3i32) as u32, 0, 0, 0],
            bits(-3.0),
        ),
        (
            "cvt.rn.f16x2.f32 %r6, %r2, %r3;",
            [bits(1.0), bits(-2.0), 0, 0],
            0x3c00_c000,
        ),
        (
            "cvt.rn.bf16x2.f32 %r6, %r2, %r3;",
            [bits(1.0), bits(1.003_906_3), 0, 0],
            0x3f80_3f80,
        ),
        // Just above what lies half way between two.
        (
            "cvt.rn.bf16x2.f32 %r6, %r2, %r3;",
            [0x3f80_8001, 0x3f80_7fff, 0, 0],
            0x3f81_3f80,
        ),
        (
            "cvt.rn.f16x2.f32 %r6, %r2, %r3;",
            [0x3f80_1001, 0x7f7f_ffff, 0, 0],
            0x3c01_7c00,
        ),
        (
            "ex2.approx.ftz.f32 %r6, %r2;",
            [bits(3.0), 0, 0, 0],
            bits(8.0),
        ),
        (
            "setp.ltu.f32 %p1, %r2, %r3;\nselp.b32 %r6, 1, 0, %p1;",
            [bits(nan), 0, 0, 0],
            1,
        ),
        (
            "setp.ne.f32 %p1, %r2, %r3;\nselp.b32 %r6, 1, 0, %p1;",
            [bits(nan), 0, 0, 0],
            0,
        ),
        (
            "setp.neu.f32 %p1, %r2, %r3;\nselp.b32 %r6, 1, 0, %p1;",
            [bits(nan), 0, 0, 0],
            1,
        ),
        (
            "mov.b32 {%h1, %h2}, %r2;\nmov.b32 %r6, {%h2, %h1};",
            [0x1234_5678, 0, 0, 0],
            0x5678_1234,
        ),
    ];
    for (instruction, operands, expected) in cases {
        assert_eq!(
            made(instruction, operands),
            expected,
            "{instruction} {operands:x?}"
        );
    }
}

/// Of a smaller number, an equal one, a greater one, and one that does not compare.
#[test]
fn comparisons() {
    let cases = [
        ("eq", [0, 1, 0, 0]),
        ("ne", [1, 0, 1, 0]),
        ("lt", [1, 0, 0, 0]),
        ("le", [1, 1, 0, 0]),
        ("gt", [0, 0, 1, 0]),
        ("ge", [0, 1, 1, 0]),
        ("equ", [0, 1, 0, 1]),
        ("neu", [1, 0, 1, 1]),
        ("ltu", [1, 0, 0, 1]),
        ("leu", [1, 1, 0, 1]),
        ("gtu", [0, 0, 1, 1]),
        ("geu", [0, 1, 1, 1]),
        ("num", [1, 1, 1, 0]),
        ("nan", [0, 0, 0, 1]),
    ];
    for (word, expected) in cases {
        let body = format!("setp.{word}.f32 %p1, %r2, %r3;\nselp.b32 %r6, 1, 0, %p1;");
        let found = [1.0, 2.0, 3.0, f32::NAN].map(|a| made(&body, [bits(a), bits(2.0), 0, 0]));
        assert_eq!(found, expected, "{word}");
    }
}

#[test]
fn threads_of_a_warp_part_and_meet() {
    let body = "and.b32 %r2, %r1, 1;\nsetp.eq.s32 %p1, %r2, 0;\nmov.u32 %r3, 100;\n@%p1 bra $even;\nadd.s32 %r3, %r3, 1;\n\
                bra.uni $both;\n$even:\nadd.s32 %r3, %r3, 2;\n$both:\nadd.s32 %r3, %r3, %r1;\n\
                shfl.sync.bfly.b32 %r4|%p2, %r3, 1, 31, -1;\nst.global.u32 [%rd2], %r4;";
    let expected: Vec<u32> = (0..40)
        .map(|thread| {
            let other = thread ^ 1;
            100 + other + if other % 2 == 0 { 2 } else { 1 }
        })
        .collect();
    assert_eq!(words("", body, 40).expect("it runs"), expected);
}

#[test]
fn a_loop_of_another_length_each() {
    let body = "mov.u32 %r2, 0;\nmov.u32 %r3, 0;\n$again:\nsetp.gt.u32 %p1, %r2, %r1;\n@%p1 bra $end;\nadd.s32 %r3, %r3, %r2;\n\
                add.s32 %r2, %r2, 1;\nbra $again;\n$end:\nst.global.u32 [%rd2], %r3;";
    let expected: Vec<u32> = (0..32).map(|thread| thread * (thread + 1) / 2).collect();
    assert_eq!(words("", body, 32).expect("it runs"), expected);
}

/// Each thread writes a word, and reads that of another behind the line between.
fn exchanged(between: &str, distance: u32) -> Result<Vec<u32>, Fault> {
    let body = format!(
        "mov.u32 %r2, room;\nshl.b32 %r3, %r1, 2;\nadd.s32 %r3, %r2, %r3;\nst.shared.u32 [%r3], %r1;\n{between}\n\
         xor.b32 %r4, %r1, {distance};\nshl.b32 %r4, %r4, 2;\nadd.s32 %r4, %r2, %r4;\nld.shared.u32 %r5, [%r4];\n\
         st.global.u32 [%rd2], %r5;"
    );
    words("\t.shared .align 4 .b8 room[256];", &body, 64)
}

#[test]
fn a_missing_barrier_is_a_fault() {
    let expected: Vec<u32> = (0..64).map(|thread| thread ^ 32).collect();
    assert_eq!(exchanged("bar.sync 0;", 32).expect("it runs"), expected);
    let fault = exchanged("", 32).expect_err("warps race");
    assert!(
        fault.text.contains("without a barrier between"),
        "{}",
        fault.text
    );
    // Threads of a warp need not wait for the block, but for each other.
    assert!(exchanged("bar.warp.sync -1;", 1).is_ok());
    assert!(exchanged("", 1).is_err());
    assert!(exchanged("bar.warp.sync -1;", 32).is_err());
}

#[test]
fn what_a_card_leaves_undefined_is_a_fault() {
    let cases = [
        (
            "ld.global.u32 %r2, [%rd2+2];",
            FaultKind::Misaligned,
            "no multiple of 4",
        ),
        (
            "ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd1+4];",
            FaultKind::Misaligned,
            "no multiple of 16",
        ),
        (
            "ld.global.u32 %r2, [%rd1+256];",
            FaultKind::Address,
            "is nowhere",
        ),
        (
            "mov.u64 %rd3, 4096;\nst.global.u32 [%rd3], %r1;",
            FaultKind::Address,
            "is nowhere",
        ),
        (
            "setp.lt.u32 %p1, %r1, 7;\n@%p1 bar.sync 0;",
            FaultKind::Undefined,
            "waits for some",
        ),
        (
            "setp.lt.u32 %p1, %r1, 7;\n@!%p1 bra $on;\nbar.sync 0;\nbra $end;\n$on:\nbar.sync 0;\n$end:\nadd.s32 %r2, %r2, 1;",
            FaultKind::Undefined,
            "do not come",
        ),
        (
            "shfl.sync.idx.b32 %r2|%p1, %r1, 0, 31, 1;",
            FaultKind::Undefined,
            "waits for some",
        ),
        (
            "wgmma.fence.sync.aligned;",
            FaultKind::Undefined,
            "is not known",
        ),
    ];
    for (body, kind, text) in cases {
        let fault = words("", body, 64).expect_err(body);
        assert_eq!(fault.kind, kind, "{}", fault.text);
        assert!(fault.text.contains(text), "{}", fault.text);
    }
}

#[test]
fn those_who_end_are_not_waited_for() {
    let body = "setp.lt.u32 %p1, %r1, 7;\n@%p1 bra $wait;\nst.global.u32 [%rd2], %r1;\nret;\n$wait:\nbar.warp.sync -1;\n\
                st.global.u32 [%rd2], %r1;";
    assert_eq!(
        words("", body, 32).expect("it runs"),
        (0..32).collect::<Vec<_>>()
    );
}

#[test]
fn memory_that_was_given_back_is_nowhere() {
    let mut memory = Memory::new(FIRST, 1 << 20);
    let address = memory.take(128).expect("a megabyte is free");
    assert!(memory.give_back(address));
    assert!(!memory.give_back(address));
    let again = memory.take(128).expect("a megabyte is free");
    assert_ne!(again, address);
    let fault = launch(("", "st.global.u32 [%rd2], %r1;"), 1, address, &mut memory);
    assert_eq!(
        fault.expect_err("it was given back").kind,
        FaultKind::Address
    );
    assert!(
        memory.take(1 << 20).is_none(),
        "there is no more than a megabyte"
    );
}

/// What exchanges registers orders no memory.
#[test]
fn a_shuffle_is_no_barrier() {
    assert!(exchanged("shfl.sync.bfly.b32 %r6|%p1, %r1, 1, 31, -1;", 1).is_err());
}

#[test]
fn what_is_changed_by_several_at_once_is_read_behind_a_barrier() {
    let body = |between: &str| {
        format!(
            "mov.u32 %r2, room;\nsetp.eq.s32 %p1, %r1, 0;\n@%p1 st.shared.u32 [%r2], %r1;\n{between}\n\
             atom.shared.add.u32 %r3, [%r2], 2;\nbar.sync 0;\nld.shared.u32 %r4, [%r2];\n\
             st.global.u32 [%rd2], %r4;"
        )
    };
    let room = "\t.shared .align 4 .b8 room[4];";
    let sums = words(room, &body("bar.sync 0;"), 64).expect("it runs");
    assert!(sums.iter().all(|sum| *sum == 128), "{sums:?}");
    assert!(words(room, &body(""), 64).is_err());
    let unread = body("bar.sync 0;").replace("2;\nbar.sync 0;", "2;");
    assert!(words(room, &unread, 64).is_err());
}

#[test]
fn memory_of_all_kinds() {
    // Of a thread, by an address of its own kind and by one of any kind; bytes with a sign.
    let body = "add.s32 %r2, %r1, 253;\nmov.u64 %rd3, own;\nst.local.u8 [%rd3+1], %r2;\nld.local.s8 %r3, [%rd3+1];\n\
                cvta.local.u64 %rd4, %rd3;\nst.u16 [%rd4+2], %r3;\nld.local.u16 %r4, [%rd3+2];\n\
                st.global.u32 [%rd2], %r4;";
    let expected = vec![0xfffd, 0xfffe, 0xffff, 0];
    assert_eq!(
        words("\t.local .align 4 .b8 own[8];", body, 4).expect("it runs"),
        expected
    );
    let body = "mov.u64 %rd3, room;\ncvta.shared.u64 %rd4, %rd3;\nst.u32 [%rd4], 7;\nld.shared.u32 %r2, [%rd3];\n\
                atom.global.cas.b32 %r3, [%rd2], -1, %r2;\natom.global.max.s32 %r4, [%rd2], -2;\n\
                red.global.max.u32 [%rd2], 9;";
    assert_eq!(
        words("\t.shared .align 4 .b8 room[8];", body, 1).expect("it runs"),
        [9]
    );
}

#[test]
fn lanes_give_each_other_registers() {
    type Expected = fn(u32) -> u32;
    let cases: [(&str, Expected); 4] = [
        ("shfl.sync.up.b32 %r2|%p1, %r1, 3, 0, -1;", |lane| {
            if lane < 3 { lane } else { lane - 3 }
        }),
        ("shfl.sync.down.b32 %r2|%p1, %r1, 3, 31, -1;", |lane| {
            if lane > 28 { lane } else { lane + 3 }
        }),
        ("shfl.sync.idx.b32 %r2, %r1, 5, 31, -1;", |_| 5),
        (
            "and.b32 %r3, %r1, 1;\nsetp.eq.s32 %p1, %r3, 0;\nvote.sync.ballot.b32 %r2, %p1, -1;",
            |_| 0x5555_5555,
        ),
    ];
    for (body, expected) in cases {
        let found = words("", &format!("{body}\nst.global.u32 [%rd2], %r2;"), 32).expect(body);
        assert_eq!(found, (0..32).map(expected).collect::<Vec<_>>(), "{body}");
    }
}

/// As candle's kernels have it.
#[test]
fn an_assertion_that_does_not_hold_is_a_fault() {
    let body = "{\n.param .b64 param0;\nst.param.b64 [param0+0], %rd1;\ncall.uni \n__assertfail, \n(\nparam0\n);\n}";
    let fault = words("", body, 1).expect_err("it fails");
    assert_eq!(fault.kind, FaultKind::Assertion, "{}", fault.text);
}

/// Tiles by elements: the fragments are those of the PTX ISA's figures of `mma.m16n8k16` and `mma.m16n8k8`.
#[test]
fn tiles() {
    for (columns, kind, two, three) in [
        (16, "f16", 0x4000u32, 0x4200u32),
        (16, "bf16", 0x4000, 0x4040),
        (8, "f16", 0x4000, 0x4200),
    ] {
        for row in 0..16 {
            for at in 0..columns {
                // Each element of b once for each row of a tile.
                tile((columns, kind), (row, at, row % 8), (two, three));
            }
        }
    }
}

/// Of a only one element is not zero, and of b only one.
fn tile(
    (columns, kind): (u32, &str),
    (row, at, column): (u32, u32, u32),
    (two, three): (u32, u32),
) {
    // Two of a row lie in a register, the first in the low half; four lanes have eight of them, eight lanes the rows.
    let place = |row: u32, at: u32| (4 * (row % 8) + at % 8 / 2, 16 * (at % 2));
    let (a_lane, a_shift) = place(row, at);
    let (b_lane, b_shift) = place(column, at);
    let (a_register, b_register) = (10 + row / 8 + 2 * (at / 8), 20 + at / 8);
    let zeros = "mov.u32 %r10, 0;\nmov.u32 %r11, 0;\nmov.u32 %r12, 0;\nmov.u32 %r13, 0;\nmov.u32 %r20, 0;\n\
                 mov.u32 %r21, 0;\n";
    let (a, b) = match columns {
        16 => ("%r10, %r11, %r12, %r13", "%r20, %r21"),
        _ => ("%r10, %r11", "%r20"),
    };
    let body = format!(
        "{zeros}setp.eq.s32 %p1, %r1, {a_lane};\n@%p1 mov.u32 %r{a_register}, {};\n\
         setp.eq.s32 %p2, %r1, {b_lane};\n@%p2 mov.u32 %r{b_register}, {};\nmov.f32 %f1, 0f3F800000;\n\
         mma.sync.aligned.m16n8k{columns}.row.col.f32.{kind}.{kind}.f32 {{%f2, %f3, %f4, %f5}}, {{{a}}}, {{{b}}}, \
         {{%f1, %f1, %f1, %f1}};\nmul.f32 %f3, %f3, 0f41200000;\nmul.f32 %f4, %f4, 0f42C80000;\n\
         mul.f32 %f5, %f5, 0f447A0000;\nadd.f32 %f2, %f2, %f3;\nadd.f32 %f4, %f4, %f5;\nadd.f32 %f2, %f2, %f4;\n\
         st.global.f32 [%rd2], %f2;",
        two << a_shift,
        three << b_shift
    );
    let sums = words("", &body, 32).expect("it runs");
    // Of the results each is told by a power of ten.
    let (lane, result) = (4 * (row % 8) + column / 2, column % 2 + 2 * (row / 8));
    for (thread, sum) in sums.iter().enumerate() {
        let own = if thread as u32 == lane {
            6.0 * 10f32.powi(result.cast_signed())
        } else {
            0.0
        };
        assert_eq!(
            *sum,
            (1111.0 + own).to_bits(),
            "{kind}, {columns} columns, ({row}, {at}), thread {thread}"
        );
    }
}
