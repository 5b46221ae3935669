"""What people look at: tables, pages, sheets."""
