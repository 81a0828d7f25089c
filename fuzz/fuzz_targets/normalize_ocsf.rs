#![no_main]

use mimecast_source::normalize::Format;

libfuzzer_sys::fuzz_target!(|data: &[u8]| mimecast_source_fuzz::normalize(Format::Ocsf, data));
