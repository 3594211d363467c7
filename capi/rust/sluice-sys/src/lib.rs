//! Raw bindings to Sluice's C ABI: `sluice.h`, `sluice_tools.h` and `sluice_backend.h`, whose
//! comments say what each item does. The crate `sluice` wraps them safely.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]
// The comments are those of C headers.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags, rustdoc::bare_urls)]
#![allow(clippy::all)]

include!("bindings.rs");
