#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adaptkit_fuzzing::prefix_cache(data));
