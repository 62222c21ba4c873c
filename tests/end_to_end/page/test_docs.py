"""The description of every route in a real browser, which reaches nothing but the service."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.service_process import ServiceProcess


def test_a_browser_without_internet_shows_every_route(page: Page, service: ServiceProcess) -> None:
    """The fixture forbids requests to anyone else, and errors in the console."""
    page.goto(f"{service.client.base_url}/docs")
    described = service.client.get("/openapi.json").json()["paths"]
    expect(page.locator(".opblock-summary-path")).to_have_count(sum(len(methods) for methods in described.values()))
    page.locator(".opblock", has_text="/score").first.click()
    expect(page.locator(".opblock-section-header").first).to_be_visible()
