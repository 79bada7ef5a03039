#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_fuzz::certificates::x509(data));
