//! Chromium, driven by WebDriver (W3C WebDriver, 2018) with the driver that belongs to it.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Process, soon};
use crate::parts::PATH;

/// The name of the member with the id of an element (WebDriver, 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// The key that moves the focus, and the one that submits (WebDriver, 17.4.2).
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
/// The tries to start the driver, and the time between two looks whether it has.
const STARTS: usize = 5;
const LOOKS: Duration = Duration::from_millis(20);
/// How long the driver waits for an element or a page.
const WAIT: Duration = Duration::from_secs(20);

/// The screen of a browser, in pixels of CSS.
pub(crate) struct Screen {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) is_phone: bool,
}

/// A browser with one window. Dropping it ends it.
pub(crate) struct Browser {
    session: String,
    http: reqwest::Client,
    _driver: Process,
    _home: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser with this screen, in which these names are other addresses: `claude.ai 127.0.0.1:1234`.
    pub(crate) async fn start(screen: &Screen, names: &[String]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (driver, port) = driver(home.path()).await;

        let rules: Vec<_> = names.iter().map(|name| format!("MAP {name}")).collect();
        let arguments = json!([
            "--headless=new",
            // The tests may be run by root, in a container.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--ignore-certificate-errors",
            format!("--host-resolver-rules={}", rules.join(",")),
            format!("--window-size={},{}", screen.width, screen.height),
        ]);
        let mut options = json!({ "args": arguments });
        if screen.is_phone {
            // A window is never as narrow as a phone.
            let metrics =
                json!({ "width": screen.width, "height": screen.height, "pixelRatio": 2.0 });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "timeouts": { "implicit": WAIT.as_millis(), "pageLoad": WAIT.as_millis() },
        });
        let http = reqwest::Client::new();
        let asked = http.post(format!("http://127.0.0.1:{port}/session"));
        let asked = asked.json(&json!({ "capabilities": { "alwaysMatch": capabilities } }));
        let answer = soon("the browser starts", asked.send()).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let Some(id) = answer["value"]["sessionId"].as_str() else {
            panic!("chromedriver: {answer}");
        };
        Self {
            session: format!("http://127.0.0.1:{port}/session/{id}"),
            http,
            _driver: driver,
            _home: home,
        }
    }

    /// Loads a page.
    pub(crate) async fn load(&self, url: &str) {
        self.post("url", &json!({ "url": url })).await;
    }

    /// Returns the address of the page.
    pub(crate) async fn address(&self) -> String {
        self.get("url").await.as_str().unwrap().to_owned()
    }

    /// Waits until the address begins so. Returns it.
    pub(crate) async fn arrives_at(&self, prefix: &str) -> String {
        soon("the browser arrives", async {
            loop {
                let address = self.address().await;
                if address.starts_with(prefix) {
                    return address;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Returns the text of the page.
    pub(crate) async fn text(&self) -> String {
        let text = self.script("return document.body.innerText").await;
        text.as_str().unwrap().to_owned()
    }

    /// Waits until the page has an element. While a page gives way to another one, the driver answers with errors.
    pub(crate) async fn shows(&self, selector: &str) {
        let using = json!({ "using": "css selector", "value": selector });
        soon("the page shows it", async {
            loop {
                let request = self.http.post(format!("{}/element", self.session));
                let answer = request.json(&using).send().await.unwrap();
                if answer.status().is_success() {
                    return;
                }
                tokio::time::sleep(LOOKS).await;
            }
        })
        .await;
    }

    /// Clicks on an element.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("element/{element}/click"), &json!({}))
            .await;
    }

    /// Types into an element.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        let path = format!("element/{element}/value");
        self.post(&path, &json!({ "text": text })).await;
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let presses: Vec<_> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({"type": "keyDown", "value": key}),
                    json!({"type": "keyUp", "value": key}),
                ]
            })
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": presses });
        self.post("actions", &json!({ "actions": [keyboard] }))
            .await;
    }

    /// Runs a script in the page. Returns its value.
    pub(crate) async fn script(&self, text: &str) -> Value {
        let script = json!({ "script": text, "args": [] });
        self.post("execute/sync", &script).await
    }

    /// Runs a script that calls its last argument with its value.
    pub(crate) async fn async_script(&self, text: &str) -> Value {
        let script = json!({ "script": text, "args": [] });
        self.post("execute/async", &script).await
    }

    /// Returns the picture of the page, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let picture = self.get("screenshot").await;
        STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    /// Returns the lines of a log of the browser: `browser` or `performance`.
    pub(crate) async fn log(&self, kind: &str) -> Vec<String> {
        let lines = self.post("se/log", &json!({ "type": kind })).await;
        let lines = lines.as_array().unwrap().iter();
        lines
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn find(&self, selector: &str) -> String {
        let using = json!({ "using": "css selector", "value": selector });
        let found = self.post("element", &using).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}/{path}", self.session));
        self.value(path, request.json(body)).await
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}/{path}", self.session));
        self.value(path, request).await
    }

    async fn value(&self, path: &str, request: reqwest::RequestBuilder) -> Value {
        let answer = soon("the browser answers", request.send()).await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {answer}");
        answer["value"].clone()
    }
}

/// Starts the driver. Returns it with its port. It ends at once if the port that it has found for IPv4 is taken for IPv6.
async fn driver(home: &Path) -> (Process, String) {
    let started = "was started successfully on port ";
    for _ in 0..STARTS {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env_clear();
        command.env("PATH", PATH).env("HOME", home);
        let mut driver = Process::start(command);

        let port = soon("the driver starts or ends", async {
            loop {
                if let Some(line) = driver.lines_with(started).first() {
                    let port = line.split(started).nth(1).unwrap();
                    return Some(port.trim_end_matches('.').to_owned());
                }
                if !driver.is_running() {
                    return None;
                }
                tokio::time::sleep(LOOKS).await;
            }
        });
        if let Some(port) = port.await {
            return (driver, port);
        }
    }
    panic!("chromedriver does not start");
}
