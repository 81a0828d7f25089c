//! Compiles `hostile_component.rs`, and writes settings for sources of it. Also used by the
//! benchmark of fairness.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::rustc::compile_component;

/// Compiles the component.
pub(crate) fn compile(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let package = |name: &str, files: &[&str]| {
        let mut text = format!("package {name} {{\n");
        for file in files {
            let file = fs::read_to_string(root.join("wit").join(file)).unwrap();
            let lines = file.lines().filter(|line| !line.starts_with("package "));
            lines.for_each(|line| text.extend([line, "\n"]));
        }
        text + "}\n"
    };
    let wit = [
        "package test:hostile;\nworld hostile {\n  import wasi:http/outgoing-handler@0.2.0;\n  \
         export pipeline:source/source@0.2.0;\n  export pipeline:source/normalizer@0.2.0;\n}\n"
            .to_owned(),
        package("pipeline:source@0.2.0", &["types.wit", "source.wit"]),
        package(
            "wasi:http@0.2.0",
            &["deps/http/types.wit", "deps/http/handler.wit"],
        ),
        package("wasi:clocks@0.2.0", &["deps/clocks/monotonic-clock.wit"]),
        package(
            "wasi:io@0.2.0",
            &[
                "deps/io/error.wit",
                "deps/io/poll.wit",
                "deps/io/streams.wit",
            ],
        ),
    ];
    compile_component(
        "hostile_component.rs",
        &wit.concat(),
        (folder, "hostile"),
        &[],
    )
}

/// The settings of a source that does what `behavior` names. `authority` is where it sends
/// requests.
pub(crate) fn source(name: &str, component: &Path, behavior: &str, authority: &str) -> String {
    format!(
        "\n[[source]]\nname = \"{name}\"\ncomponent = \"{}\"\nallow = [\"http://{authority}\"]\n\
         [source.settings]\nbehavior = \"{behavior}\"\nauthority = \"{authority}\"\n",
        component.display()
    )
}

/// A server that accepts connections, keeps them open and answers nothing.
#[derive(Debug)]
pub(crate) struct SilentServer {
    pub(crate) authority: String,
    accepted: Arc<Mutex<Vec<TcpStream>>>,
}

impl SilentServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            authority: listener.local_addr().unwrap().to_string(),
            accepted: Arc::default(),
        };
        let accepted = Arc::clone(&server.accepted);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Without a descriptor for it, the client sees that nothing comes.
                accepted.lock().unwrap().extend(stream);
            }
        });
        server
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }
}
