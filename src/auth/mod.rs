//! Credentials: when to ask for a token and how to use it.

pub mod oauth2;
