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
    Avx512,
}

impl Isa {
    /// The names of all instruction sets that kernels are written for, slowest first.
    pub const NAMES: [&'static str; 3] = ["portable", "avx2", "avx512"];

    /// The fastest instruction set of this CPU.
    pub fn detect() -> Isa {
        Isa::available().pop().unwrap_or(Isa(Kind::Portable))
    }

    /// Every instruction set of this CPU that kernels are written for, slowest first.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut, reason = "only x86-64 adds to it")]
        let mut found = vec![Isa(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Isa(Kind::Avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                found.push(Isa(Kind::Avx512));
            }
        }
        found
    }

    /// The instruction set of that name, if this CPU has it.
    pub fn by_name(name: &str) -> Option<Isa> {
        Isa::available().into_iter().find(|isa| isa.name() == name)
    }

    /// The name, as in [`Isa::NAMES`].
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }
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
