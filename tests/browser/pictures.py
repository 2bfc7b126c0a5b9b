"""The pictures of README and docs: `make pictures` renews them from the miniature."""

import shutil
import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

IMAGES = Path(__file__).parents[2] / "docs/images"


def screenshot(report: Path, output: Path) -> None:
    """The first screen of a report."""
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1400,1000"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        driver.get(report.absolute().as_uri())
        WebDriverWait(driver, 60).until(lambda it: it.find_elements(By.CSS_SELECTOR, "img"))
        time.sleep(2)  # the menu fades in
        driver.save_screenshot(str(output))
    finally:
        driver.quit()


if __name__ == "__main__":
    results, report = map(Path, sys.argv[1:])
    IMAGES.mkdir(exist_ok=True)
    shutil.copy(results / "figures/figure1.svg", IMAGES / "figure1.svg")
    screenshot(report, IMAGES / "report.png")
