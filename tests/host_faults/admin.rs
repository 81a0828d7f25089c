//! The admin server of a host that runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

