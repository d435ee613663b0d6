//! Instruction sets, as values that exist only where the CPU has them.
//!
//! An [`Isa`] cannot be made by hand: it comes from [`Isa::detect`] or [`Isa::available`], which
//! ask the CPU. A kernel that receives one may therefore use its instructions, and the one place
//! that turns the value into instructions is [`crate::simd::dispatch`].

use std::fmt;

/// An instruction set that the running CPU has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isa(pub(crate) Kind);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx,
}

impl Isa {
    /// The names of all instruction sets that kernels are written for, those that need the
    /// least first.
    pub const NAMES: [&'static str; 7] =
        ["portable", "avx2", "avx2-vnni", "avx512", "avx512-vnni", "avx512-bf16", "amx"];

    /// The instruction set of this CPU whose products are the fastest. Where the dot product of
    /// bf16 in vectors is slower than two multiply-adds in single precision (Intel's CPUs, as
    /// measured), that is one with matrix tiles, or without either.
    pub fn detect() -> Isa {
        let mut available = Isa::available().into_iter();
        let fast = |isa: &Isa| isa.has_tiles() || !isa.has_bf16() || bf16_dots_are_fast();
        available.rfind(fast).unwrap_or(Isa(Kind::Portable))
    }

    /// Every instruction set of this CPU that kernels are written for, those that need the least
    /// first.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut, reason = "only x86-64 adds to it")]
        let mut found = vec![Isa(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
            found.extend(avx2.then_some(Isa(Kind::Avx2)));
            let avx_vnni = avx2 && is_x86_feature_detected!("avxvnni");
            found.extend(avx_vnni.then_some(Isa(Kind::Avx2Vnni)));
            found.extend(avx512.then_some(Isa(Kind::Avx512)));
            found.extend(vnni.then_some(Isa(Kind::Avx512Vnni)));
            let bf16 = vnni && is_x86_feature_detected!("avx512bf16");
            found.extend(bf16.then_some(Isa(Kind::Avx512Bf16)));
            #[cfg(target_os = "linux")]
            found.extend((bf16 && crate::arch::amx::is_usable()).then_some(Isa(Kind::Amx)));
        }
        found
    }

    /// The instruction set of that name, if this CPU has it.
    pub fn by_name(name: &str) -> Option<Isa> {
        Isa::available().into_iter().find(|isa| isa.name() == name)
    }

    /// Whether products of bf16 have an instruction of their own.
    pub fn has_bf16(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => true,
            _ => self.has_tiles(),
        }
    }

    /// Whether products of bf16 and of 8-bit integers run on matrix tiles.
    pub fn has_tiles(self) -> bool {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx => true,
            _ => false,
        }
    }

    /// The name, as in [`Isa::NAMES`].
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2Vnni => "avx2-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => "avx512-bf16",
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx => "amx",
        }
    }
}

/// Whether this CPU computes a dot product of bf16 pairs as fast as a multiply-add: AMD's do. On an
/// Intel Xeon of 2023 it took four times as long (`examples/ceiling.rs` shows it).
#[cfg(target_arch = "x86_64")]
fn bf16_dots_are_fast() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
    name.concat() == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn bf16_dots_are_fast() -> bool {
    false
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
