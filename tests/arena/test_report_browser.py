"""The page in a real browser: nothing is asked for elsewhere, nothing fails, and charts have content."""

import functools
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from arena.report_folder import write_folder
from opticnerve.arena.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), "")
REPORTER = """<script>
const said = [];
for (const name of ["error", "warn"]) console[name] = (...words) => said.push(name + ": " + words.join(" "));
addEventListener("error", event => said.push("thrown: " + event.message));
addEventListener("unhandledrejection", event => said.push("rejected: " + event.reason));
addEventListener("securitypolicyviolation", event => said.push("asked for: " + event.blockedURI));
addEventListener("load", () => setTimeout(() => {
  const words = document.createElement("pre");
  words.id = "said";
  words.textContent = said.join("; ");
  document.body.append(words);
}, 3000));
</script>"""
POLICY = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'unsafe-inline' 'unsafe-eval' data:\">"


class Quiet(SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - of all requests

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(self.path)


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: none of " + ", ".join(NAMES) + " is installed")
def test_in_a_browser_no_request_leaves_the_page_nothing_fails_and_charts_have_content(tmp_path: Path) -> None:
    page = write_report(write_folder(tmp_path / "arena", num_images=10))[0]
    site = tmp_path / "site"
    site.mkdir()
    (site / "page.html").write_text(page.read_text().replace("<head>", "<head>" + POLICY + REPORTER, 1))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000",
                f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900", "--dump-dom",
                f"http://127.0.0.1:{server.server_port}/page.html",
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert Quiet.asked == ["/page.html"]
    (said,) = re.findall(r'<pre id="said">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert said == ""
    for name in ("ranking", "tokens", "time", "glyphs", "curves"):
        drawn = done.stdout.split(f'<div id="{name}"', 1)[1].split("</svg>", 1)[0]
        assert drawn.count("<path") > 20, name
        assert drawn.count("<text") > 20, name
