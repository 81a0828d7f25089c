//! The status page: static files, served as they are. There is no build step,
//! no request to another host, and no script or style inside the HTML, so that
//! [`CONTENT_SECURITY_POLICY`] can forbid all of them.
//!
//! The files hold no data. Everything that the page shows comes from the JSON
//! API, and what it reads there is this; unknown members are ignored:
//!
//! | request | what the page reads of the response |
//! |---|---|
//! | `GET /api/v1/sources?search=&state=&limit=&offset=` | `at` (the host's time), `host` and `outputs` as in `/api/v1/status`, `total` (sources that match), `states` (number by state of those that match `search`), `sources`: rows, with or without `streams`; without them the sums `received`, `events`, `rejected`, `duplicates`, `gaps`; in a fleet `fleet` as in `/api/v1/status` |
//! | `GET /api/v1/sources/NAME` | a source of `/api/v1/status`; 404 where there is none |
//! | `GET /api/v1/sources/NAME/history` | `points`: `{at, events, lag_seconds}`, oldest first; `events` since the point before |
//! | `GET /api/v1/sources/NAME/settings` | `editable`; `reason` where it is not; `source`: the body that `PUT` takes, without secrets; `secrets`: the names of the settings that are secret and set |
//! | `GET /api/v1/describe` | the component's `describe` as `source-host describe --json` prints it |
//! | `POST /api/v1/sources/NAME/check` | `at`, `successful`, `detail`, `seconds`, `account`, `clock_skew_ms`, `streams`: `{stream, outcome, detail, permission, product}` with `outcome` one of `readable`, `waiting`, `not-permitted`, `unauthorized`, `failing` |
//! | `POST /api/v1/sources/NAME/{pause,resume}` | nothing |
//! | `POST /api/v1/sources/NAME/reset` with `{"streams": [], "from": "2026-11-27T00:00:00Z"}` | nothing |
//! | `PUT /api/v1/sources/NAME` with `{"enabled", "outputs", "settings": {…}}` | nothing. With `If-None-Match: *` only a new source is made, else 409. A secret, a reference and a key that only the file may set stay where they are left out; everything else is replaced |
//! | `DELETE /api/v1/sources/NAME` | nothing |
//!
//! A refusal is `{"error": "…"}` or `{"errors": ["…"]}`; 401 asks for the token.

/// The value of the header `Content-Security-Policy` for every file of the
/// page.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// The files of the page: the path in the URL, the content type, the bytes.
pub(super) static ASSETS: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("index.html")),
    ("/assets/app.css", CSS, include_bytes!("app.css")),
    ("/assets/icon.svg", SVG, include_bytes!("icon.svg")),
    ("/assets/api.js", SCRIPT, include_bytes!("api.js")),
    ("/assets/app.js", SCRIPT, include_bytes!("app.js")),
    ("/assets/check.js", SCRIPT, include_bytes!("check.js")),
    ("/assets/dialogs.js", SCRIPT, include_bytes!("dialogs.js")),
    ("/assets/dom.js", SCRIPT, include_bytes!("dom.js")),
    ("/assets/families.js", SCRIPT, include_bytes!("families.js")),
    ("/assets/fleet.js", SCRIPT, include_bytes!("fleet.js")),
    ("/assets/form.js", SCRIPT, include_bytes!("form.js")),
    ("/assets/format.js", SCRIPT, include_bytes!("format.js")),
    ("/assets/outputs.js", SCRIPT, include_bytes!("outputs.js")),
    ("/assets/plot.js", SCRIPT, include_bytes!("plot.js")),
    ("/assets/source.js", SCRIPT, include_bytes!("source.js")),
    ("/assets/sources.js", SCRIPT, include_bytes!("sources.js")),
    ("/assets/states.js", SCRIPT, include_bytes!("states.js")),
];

const CSS: &str = "text/css; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn text(path: &str) -> &'static str {
        let (_, _, bytes) = ASSETS.iter().find(|(own, _, _)| *own == path).unwrap();
        std::str::from_utf8(bytes).unwrap()
    }

    fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let scripts = ASSETS.iter().filter(|(_, kind, _)| *kind == SCRIPT);
        scripts.map(|(path, _, _)| (*path, text(path)))
    }

    /// Returns every part of `text` between `start` and `end`.
    fn between<'a>(text: &'a str, start: &str, end: char) -> Vec<&'a str> {
        let parts = text.split(start).skip(1);
        parts.filter_map(|part| part.split(end).next()).collect()
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
        let on_disk: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !matches!(name.as_str(), "mod.rs" | "index.html"))
            .map(|name| format!("/assets/{name}"))
            .collect();
        let served = ASSETS.iter().map(|(path, _, _)| (*path).to_owned());
        let served: BTreeSet<String> = served.filter(|path| path != "/").collect();
        assert_eq!(served, on_disk);
    }

    #[test]
    fn what_the_files_refer_to_is_served() {
        let html = text("/");
        let mut named: Vec<String> = between(html, "=\"/", '"')
            .into_iter()
            .map(|path| format!("/{path}"))
            .collect();
        for (_, script) in scripts() {
            let imports = between(script, " from \"./", '"');
            named.extend(imports.into_iter().map(|name| format!("/assets/{name}")));
        }
        assert!(named.len() > 10, "{named:?}");
        for path in named {
            let is_served = ASSETS.iter().any(|(own, _, _)| *own == path);
            assert!(is_served, "{path}");
        }
    }

    #[test]
    fn the_page_needs_nothing_that_its_content_security_policy_forbids() {
        let html = text("/");
        for script in html.split("<script").skip(1) {
            assert!(script.contains("></script>"), "inline script: {script}");
        }
        for forbidden in ["<style", " style=", " onclick=", "javascript:", "//"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for forbidden in ["url(", "@import"] {
            assert!(!text("/assets/app.css").contains(forbidden), "{forbidden}");
        }
        for (path, script) in scripts() {
            for forbidden in ["innerHTML", "insertAdjacentHTML", "eval(", "import("] {
                assert!(!script.contains(forbidden), "{path}: {forbidden}");
            }
        }
    }
}
